"""The programs that tests run against: real ones, started on loopback, each in a folder of its own."""
