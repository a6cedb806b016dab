/// Defines tests that run on both databases: each `name` becomes `sqlite::name` and `postgres::name`.
///
/// A test binary that uses this macro has a function `run_test(Storage, test)` at its root, which calls the test with
/// a fresh database. The compiler reports a function that is missing in the list as unused.
#[macro_export]
macro_rules! on_both_databases {
    ($($test:ident),+ $(,)?) => {
        $crate::on_sqlite!($($test),+);
        $crate::on_postgres!($($test),+);
    };
}

/// Defines tests that run only on SQLite, because their subject does not depend on the database: each
/// `name` becomes `sqlite::name`, or `module::name` with `module:` before the list.
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "each test binary has a `run_test` of its own")]
macro_rules! on_sqlite {
    ($module:ident: $($test:ident),+ $(,)?) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    crate::run_test($crate::Storage::Sqlite, super::$test);
                }
            )+
        }
    };
    ($($test:ident),+ $(,)?) => {
        $crate::on_sqlite!(sqlite: $($test),+);
    };
}

/// Defines tests that run only on PostgreSQL: each `name` becomes `postgres::name`, or
/// `module::name` with `module:` before the list.
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "each test binary has a `run_test` of its own")]
macro_rules! on_postgres {
    ($module:ident: $($test:ident),+ $(,)?) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    crate::run_test($crate::Storage::Postgres, super::$test);
                }
            )+
        }
    };
    ($($test:ident),+ $(,)?) => {
        $crate::on_postgres!(postgres: $($test),+);
    };
}
