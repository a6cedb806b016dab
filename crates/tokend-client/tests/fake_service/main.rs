//! The client and the guard against a fake service, whose answers and streams each test writes itself: outages, late
//! answers, cut streams, and a service without Watch.

mod fake;

mod balancing;
mod cache;
mod layer;
mod retries;
mod sharing;
mod streams;
mod uses;
