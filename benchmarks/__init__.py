"""Scripts that compare cellml with other libraries; see README.md."""
