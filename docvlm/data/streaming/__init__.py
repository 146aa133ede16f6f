"""Pages that stay where they are: parquet files at an address or on a mount, of which row groups come and go.

remote   bytes of a file by range, through connections that break off
packs    the pages of row groups on this disk, at most so many bytes of them
shards   a parquet file: its questions are here, its pages are fetched a row group at a time
page     a page as a place in a shard
index    size, digest and faults of every page, found in one pass that can be stopped
"""
