"""Reports: self-contained pages, and their Markdown form."""
