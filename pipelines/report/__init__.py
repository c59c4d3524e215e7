"""The page about a study: what its runs come to, in words, tables and pictures, as HTML and as Markdown."""
