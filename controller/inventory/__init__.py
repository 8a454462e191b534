"""The evidence inventory: what was decided, on which evidence, and when. The only code that knows SQLAlchemy.

`store` opens a database, `writer` makes records durable, `queries` reads them back; everything but the leaves and the
blobs is a projection (`projections`) that can be thrown away and rebuilt.
"""
