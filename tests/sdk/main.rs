//! The guard of the client against real servers: what it promises about revocations, and the two examples.

mod axum_service;
mod outages;
mod promise;
mod service;
mod tonic_service;
mod usage;

tokend_tests::define_run_test!();
