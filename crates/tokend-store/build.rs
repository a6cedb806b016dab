//! Lists the migrations: a new pair of files in `migrations/sqlite` and `migrations/postgres` is all that a new version
//! needs.
//!
//! Not `sqlx::migrate!`: its macros would compile both database drivers a second time, for the compiler.

use std::{
    collections::BTreeSet,
    env,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("migrations");
    let (sqlite, postgres) = (root.join("sqlite"), root.join("postgres"));
    // Cargo looks at everything in a directory, so that it sees new files.
    println!("cargo:rerun-if-changed={}", root.display());

    let names = file_names(&sqlite)?;
    if let Some(name) = names.symmetric_difference(&file_names(&postgres)?).next() {
        return Err(format!("the migration {name} is there for one database and not for the other").into());
    }
    let mut list = String::from("&[\n");
    for (name, expected) in names.iter().zip(1..) {
        let (version, title) = version_and_title(name).ok_or_else(|| format!("{name} is not named NNNN_title.sql"))?;
        if version != expected {
            return Err(format!("{name} should have the number {expected:04}").into());
        }
        let (sqlite, postgres) = (sqlite.join(name), postgres.join(name));
        writeln!(
            list,
            "MigrationFile {{ version: {version}, title: {title:?}, \
             sqlite: include_str!({sqlite:?}), postgres: include_str!({postgres:?}) }},"
        )?;
    }
    list.push(']');
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("migrations.rs"), list)?;
    Ok(())
}

/// Returns the names of the files in a directory, sorted.
fn file_names(directory: &Path) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Splits `0007_organizations.sql` into 7 and `organizations`.
fn version_and_title(name: &str) -> Option<(i64, &str)> {
    let (version, title) = name.strip_suffix(".sql")?.split_once('_')?;
    let is_four_digits = version.len() == 4 && version.bytes().all(|byte| byte.is_ascii_digit());
    Some((version.parse().ok().filter(|_| is_four_digits)?, title))
}
