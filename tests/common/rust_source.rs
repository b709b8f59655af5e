//! Rust text taken apart, as far as rules about the project's own code need it.

/// Code and string literals of a Rust file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// The text without comments and with every string literal emptied; lines keep their numbers.
    pub(crate) code: String,
    /// String literals: line of the first character, and text as written.
    pub(crate) strings: Vec<(usize, String)>,
}

impl Source {
    /// Takes `text` apart.
    pub(crate) fn read(text: &str) -> Self {
        let mut source = Self::default();
        let mut rest = text;
        let mut line = 1;
        let mut word_before = false;
        while let Some(first) = rest.chars().next() {
            let (kind, length) = token(rest, word_before);
            let (piece, next) = rest.split_at(length);
            match kind {
                Kind::Code => source.code.push_str(piece),
                Kind::Comment => source.code.extend(piece.chars().filter(|c| *c == '\n')),
                Kind::String => {
                    source.strings.push((line, piece.trim_matches(['r', '#', 'b', 'c']).trim_matches('"').to_owned()));
                    source.code.push_str("\"\"");
                    source.code.extend(piece.chars().filter(|c| *c == '\n'));
                }
            }
            line += piece.matches('\n').count();
            word_before = kind == Kind::Code && (first.is_alphanumeric() || first == '_');
            rest = next;
        }
        source
    }

    /// The lines of code that contain `pattern`, numbered from 1.
    pub(crate) fn lines_with<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.lines().zip(1..).filter(move |(line, _)| line.contains(pattern)).map(|(_, number)| number)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    String,
}

/// What the text begins with, and its length in bytes.
fn token(text: &str, word_before: bool) -> (Kind, usize) {
    let until = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return (Kind::Comment, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (Kind::Comment, until("*/", 2));
    }
    // A prefix such as the `r` of r"…" starts a word of its own.
    let prefix = if word_before { 0 } else { text.len() - text.trim_start_matches(['b', 'c', 'r']).len() };
    let raw = prefix > 0 && text[..prefix].ends_with('r');
    let hashes = if raw { text[prefix..].len() - text[prefix..].trim_start_matches('#').len() } else { 0 };
    if text[prefix + hashes..].starts_with('"') {
        let start = prefix + hashes + 1;
        if raw {
            return (Kind::String, until(&format!("\"{}", "#".repeat(hashes)), start));
        }
        let mut escaped = false;
        for (at, character) in text[start..].char_indices() {
            match character {
                '"' if !escaped => return (Kind::String, start + at + 1),
                '\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        return (Kind::String, text.len());
    }
    // A quote opens a character, such as '"', or a lifetime.
    if let Some(rest) = text.strip_prefix('\'') {
        if let Some(escape) = rest.strip_prefix('\\') {
            let close = escape.char_indices().skip(1).find(|(_, c)| *c == '\'');
            return (Kind::Code, close.map_or(text.len(), |(at, _)| at + 3));
        }
        let mut characters = rest.chars();
        if let (Some(inside), Some('\'')) = (characters.next(), characters.next()) {
            return (Kind::Code, 2 + inside.len_utf8());
        }
    }
    (Kind::Code, text.chars().next().map_or(1, char::len_utf8))
}
