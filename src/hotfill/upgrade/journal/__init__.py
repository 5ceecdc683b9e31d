"""The durable record of one upgrade, and who may write it.

Reading order: `base` (what every journal promises), `sqlite` (one file, one machine) and
`postgres` (workers on many machines), `lock` (one process leads), and `section` (which journal a
file asks for).
"""
