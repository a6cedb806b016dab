//! The schema of each version is on file in `schema/sqlite` and `schema/postgres`, so that a diff shows what a
//! migration changes.
//!
//! After adding a migration, write its schema with
//!
//! ```text
//! TOKEND_UPDATE_SCHEMA=1 cargo test --workspace --test store schema::
//! ```

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use tokend_test_support::on_both_databases;

use crate::support::Fixture;

on_both_databases!(each_version_is_on_file);

/// `1` makes the test write the files instead of comparing them.
const UPDATE: &str = "TOKEND_UPDATE_SCHEMA";

const SQLITE_DUMP: [&str; 1] = [
    "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name <> 'tokend_migrations' \
     ORDER BY tbl_name, type = 'index', name",
];

/// Tables with their columns and constraints, then indexes, then all other objects, by name.
const POSTGRES_DUMP: [&str; 3] = [
    r#"WITH lines AS (
        SELECT a.attrelid AS relation, 1 AS part, a.attnum AS rank,
               format('    %s %s', a.attname, format_type(a.atttypid, a.atttypmod))
               || CASE WHEN a.attcollation <> t.typcollation THEN format(' COLLATE %I', c.collname) ELSE '' END
               || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
               || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') AS line
        FROM pg_attribute a
        JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_collation c ON c.oid = a.attcollation
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT conrelid, 2, 0, format('    CONSTRAINT %s %s', conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE contype IN ('c', 'f', 'p', 'u', 'x'))
    SELECT format(E'CREATE TABLE %s (\n%s\n)', r.relname,
                  string_agg(l.line, E',\n' ORDER BY l.part, l.rank, l.line COLLATE "C"))
    FROM pg_class r JOIN lines l ON l.relation = r.oid
    WHERE r.relkind = 'r' AND r.relnamespace = current_schema()::regnamespace AND r.relname <> 'tokend_migrations'
    GROUP BY r.oid, r.relname ORDER BY r.relname COLLATE "C""#,
    r#"SELECT replace(pg_get_indexdef(i.indexrelid), format(' ON %s.', current_schema()), ' ON ')
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class r ON r.oid = i.indrelid
    WHERE r.relnamespace = current_schema()::regnamespace AND r.relname <> 'tokend_migrations'
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND contype IN ('p', 'u', 'x'))
    ORDER BY r.relname COLLATE "C", x.relname COLLATE "C""#,
    r#"SELECT line FROM (
        SELECT format('-- relation of kind %s: %s', relkind, relname) AS line FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind NOT IN ('r', 'i', 't', 'c')
        UNION ALL
        SELECT format('-- function: %s', proname) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
        UNION ALL
        SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    ) others ORDER BY line COLLATE "C""#,
];

async fn each_version_is_on_file(fixture: Fixture) {
    fixture.created().await.close().await;
    let title = if fixture.is_sqlite() {
        "SELECT printf('-- Version %d: %s, SHA-384 %s', version, description, lower(hex(checksum))) \
         FROM tokend_migrations ORDER BY version"
    } else {
        "SELECT format('-- Version %s: %s, SHA-384 %s', version, description, encode(checksum, 'hex')) \
         FROM tokend_migrations ORDER BY version"
    };
    let titles: Vec<String> = fixture.column(title).await;
    let migrated = dump(&fixture).await;

    empty(&fixture).await;
    let directory = package().join("schema").join(dialect(&fixture));
    let migrations = migrations(&fixture);
    assert_eq!(
        titles.len(),
        migrations.len(),
        "every migration was applied: {titles:#?}"
    );
    let mut last = String::new();
    for (title, Migration { name, sql }) in titles.iter().zip(&migrations) {
        fixture.sql(sql).await;
        last = dump(&fixture).await;
        compare(&directory.join(name), &format!("{title}\n\n{last}"));
    }
    assert_eq!(migrated, last, "the store and the files create the same schema");
    let expected: Vec<_> = migrations.into_iter().map(|migration| migration.name).collect();
    assert_eq!(
        file_names(&directory),
        expected,
        "each file in {directory:?} belongs to a migration"
    );
}

/// One file of migrations.
pub(crate) struct Migration {
    pub(crate) name: String,
    pub(crate) sql: String,
}

/// Returns the migrations for the fixture's database, in order.
pub(crate) fn migrations(fixture: &Fixture) -> Vec<Migration> {
    let directory = package().join("migrations").join(dialect(fixture));
    let read = |name: String| Migration {
        sql: fs::read_to_string(directory.join(&name)).expect("a migration can be read"),
        name,
    };
    file_names(&directory).into_iter().map(read).collect()
}

/// Removes everything from the database. No store may be open.
pub(crate) async fn empty(fixture: &Fixture) {
    if fixture.is_sqlite() {
        fs::write(fixture.file(), "").expect("the database file can be emptied");
    } else {
        fixture.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    }
}

async fn dump(fixture: &Fixture) -> String {
    let queries: &[&str] = if fixture.is_sqlite() {
        &SQLITE_DUMP
    } else {
        &POSTGRES_DUMP
    };
    let mut statements: Vec<String> = Vec::new();
    for query in queries {
        statements.extend(fixture.column::<String>(query).await);
    }
    statements
        .iter()
        .map(|statement| format!("{statement};\n"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn compare(file: &Path, found: &str) {
    if env::var(UPDATE).is_ok_and(|value| value == "1") {
        fs::write(file, found).expect("the schema can be written");
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert!(
        expected == found,
        "{} is not the schema that the migrations make. If they are right, run this test with {UPDATE}=1.\n\
         Only on file:\n{}\nOnly in the migrated database:\n{}",
        file.display(),
        missing(found, &expected),
        missing(&expected, found)
    );
}

/// Returns the lines of `text` that `other` lacks.
fn missing(other: &str, text: &str) -> String {
    let lines = text.lines().filter(|line| !other.lines().any(|known| known == *line));
    lines.collect::<Vec<_>>().join("\n")
}

fn dialect(fixture: &Fixture) -> &'static str {
    if fixture.is_sqlite() { "sqlite" } else { "postgres" }
}

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Returns the names of the files in a directory, sorted.
fn file_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("an entry can be read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}
