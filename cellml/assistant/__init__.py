"""The assistant that chooses a segmentation method: data, filters, hints of an image, a page."""
