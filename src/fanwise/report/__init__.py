"""Reports: one data model (`document`) and its renderers (`terminal`, `html`, `jsonable`).

This room knows nothing of networks. A caller fills a `document.Document` with texts, tables and curves; the
renderers show the same document on a terminal, as one HTML file that needs nothing else, or as JSON.
"""
