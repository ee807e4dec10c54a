"""The annotation server of `cellml annotate` and its page.

`objects` is what everything shares; `journal` and `document` keep the state, `images` reads pixels,
`outlines`, `imports` and `exports` know the files of other programs, `assist` proposes outlines,
`app` and `server` answer the page. shapely is imported here only.
"""
