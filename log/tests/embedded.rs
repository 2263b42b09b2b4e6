//! What only the embedded log has: one process, one directory, crashes.
