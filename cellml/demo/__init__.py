"""The tour behind `make demo`: one chapter per pillar, every number measured while it runs.

A pillar adds its chapter with a function of `DemoRun` in a module of its own, and a line in
`cellml.demo.chapters.CHAPTERS`.
"""
