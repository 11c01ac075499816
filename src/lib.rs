//! Wiring of the Chamberlain server.
