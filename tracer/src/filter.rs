//! Which connections are wanted.
