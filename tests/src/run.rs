use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::Installation;

/// Where an installation keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// A file in its directory.
    Sqlite,
    /// A database of its own on the server of [`crate::postgres`].
    Postgres,
}

/// How long a test may take: more than any should on a busy machine.
const TEST_LIMIT: Duration = Duration::from_secs(180);
/// How long a condition may take to come true.
const CONDITION_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// Runs a test on a fresh installation of `program`. Where there is no PostgreSQL for it, says so and returns.
///
/// # Panics
/// If the test does.
pub fn run<F: Future<Output = ()>>(program: &str, storage: Storage, test: impl FnOnce(Installation) -> F) {
    let Some(installation) = Installation::new(program, storage) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async { timeout(TEST_LIMIT, test(installation)).await.expect("the test ends in time") });
}

/// Waits until `condition` holds, and hands out what it found.
///
/// # Panics
/// If it does not hold within half a minute.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let holds = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            sleep(POLL).await;
        }
    };
    timeout(CONDITION_LIMIT, holds).await.unwrap_or_else(|_| panic!("in vain: waited until {what}"))
}

/// Makes tests of functions `async fn(Installation)`: each `name` becomes `sqlite::name` and `postgres::name`.
///
/// A function that is not listed is never used, which the compiler tells.
#[macro_export]
macro_rules! on_both_databases {
    ($($test:ident),+ $(,)?) => {
        $crate::on_sqlite!($($test),+);
        $crate::on_postgres!($($test),+);
    };
}

/// Makes tests of functions whose subject does not depend on the database: each `name` becomes `sqlite::name`.
#[macro_export]
macro_rules! on_sqlite {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[test]
                fn $test() {
                    $crate::run(env!("CARGO_BIN_EXE_tokend-under-test"), $crate::Storage::Sqlite, super::$test);
                }
            )+
        }
    };
}

/// Makes tests of functions whose subject is PostgreSQL alone: each `name` becomes `postgres::name`.
#[macro_export]
macro_rules! on_postgres {
    ($($test:ident),+ $(,)?) => {
        mod postgres {
            $(
                #[test]
                fn $test() {
                    $crate::run(env!("CARGO_BIN_EXE_tokend-under-test"), $crate::Storage::Postgres, super::$test);
                }
            )+
        }
    };
}
