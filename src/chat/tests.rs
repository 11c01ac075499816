//! A talk against frames that a server would send.
