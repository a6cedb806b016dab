//! TLS and client certificates: who is let in, who is not, and what happens when certificates change. Every certificate is made by
//! the test that uses it.

mod authority;
mod files;
mod handshake;

mod command_line;
mod mutual;
mod names;
mod reload;
mod serving;
mod start;
