"""The one wire shape that all faces share: MCP `structuredContent`, `--format json`, later HTTP.

Sizes in bytes, durations in seconds, times as ISO 8601 in UTC.  Each module is imported by itself: a command
shows one or two views, and each of them costs every start of it.
"""
