"""Host-side data: files in, arrays out."""
