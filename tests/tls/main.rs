//! TLS and client certificates: which clients are accepted, and what happens when certificates change. Every test
//! creates its own certificates.

mod authority;
mod files;
mod handshake;

mod command_line;
mod mutual;
mod names;
mod reload;
mod serving;
mod start;

tokend_tests::define_run_test!();
