//! A Rust file as the rules see it: comments and literals blanked out, and the parts that only tests compile marked.
//!
//! This is a lexer's worth of understanding and no more. It keeps every line where it was, so that a position in the
//! blanked text is one in the file.

use std::ops::Range;

/// A Rust file.
pub(crate) struct Source {
    /// Relative to the root, with slashes.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// The same bytes, with those of comments and of string and character literals turned into spaces.
    pub(crate) code: String,
    /// The items under `#[cfg(test)]`, attributes included.
    tests: Vec<Range<usize>>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let tests = test_items(&code);
        Self { path: path.to_string(), text: text.to_string(), code, tests }
    }

    /// Whether this place is compiled for tests alone.
    pub(crate) fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// The line of a place, counted from one.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.code.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    /// How many lines there are outside tests.
    pub(crate) fn lines_of_code(&self) -> usize {
        let newlines = self.text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        newlines.filter(|&(at, _)| !self.is_test(at)).count()
    }

    /// Where `words` stands in the code as whole words, outside tests.
    pub(crate) fn find<'a>(&'a self, words: &'a str) -> impl Iterator<Item = usize> + 'a {
        whole_words(&self.code, words).filter(|&at| !self.is_test(at))
    }
}

/// Where `words` stands in `text` with no identifier running into it on either side.
pub(crate) fn whole_words<'a>(text: &'a str, words: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(words).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + words.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Turns comments and literals into spaces.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment(text, at);
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    // Whole characters were blanked, byte by byte, so that what is left is still UTF-8.
    String::from_utf8(code).unwrap_or_default()
}

/// The end of the comment or literal that begins at `at`, or `at` itself when none does.
fn literal_or_comment(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let rest = &bytes[at..];
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest[0] {
        b'/' if rest.starts_with(b"//") => at + position(rest, b"\n"),
        b'/' if rest.starts_with(b"/*") => at + block_comment(rest),
        b'"' => at + quoted(rest),
        b'r' | b'b' | b'c' if !after_word => {
            let prefix = rest.iter().take_while(|byte| matches!(byte, b'r' | b'b' | b'c')).count();
            let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
            let is_string = prefix <= 2 && rest.get(prefix + hashes) == Some(&b'"');
            if is_string && rest[..prefix].contains(&b'r') {
                let close = [b"\"", "#".repeat(hashes).as_bytes()].concat();
                let from = prefix + hashes + 1;
                (at + from + position(&rest[from..], &close) + close.len()).min(bytes.len())
            } else if is_string && hashes == 0 {
                at + prefix + quoted(&rest[prefix..])
            } else {
                at
            }
        }
        b'\'' => at + character(&text[at..]),
        _ => at,
    }
}

/// Where `what` begins in `bytes`, or the end.
fn position(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap_or(bytes.len())
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The length of a string literal that begins with its quote.
fn quoted(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The length of a character literal, or nothing when the quote begins a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text.char_indices().skip(3).find(|&(_, c)| c == '\'').map_or(0, |(at, _)| at + 1),
        Some((_, c)) if c != '\'' => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        _ => 0,
    }
}

/// The items that only tests compile: those under `#[cfg(test)]` or `#[cfg(all(test, ...))]`.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    for (at, _) in code.match_indices("#[cfg(") {
        let condition = &code[at + "#[cfg(".len()..];
        if condition.starts_with("test)") || condition.starts_with("all(test,") {
            items.push(at..item_end(code, at));
        }
    }
    items
}

/// The end of the item whose first attribute begins at `at`: its semicolon, or the brace that closes it.
fn item_end(code: &str, at: usize) -> usize {
    let mut braces = 0;
    let mut brackets = 0;
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 && brackets == 0 {
                    return offset + 1;
                }
            }
            b';' if braces == 0 && brackets == 0 => return offset + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("a.rs", text).code
    }

    #[test]
    fn comments_and_literals_are_blank_and_everything_else_stays() {
        assert_eq!(code("a // b\nc"), "a     \nc");
        assert_eq!(code("a /* b /* c */ d */ e"), "a                   e");
        assert_eq!(code(r#"f("x \" y") + g"#), "f(        ) + g");
        assert_eq!(code("f(r#\"x \" y\"#) + g"), "f(          ) + g");
        assert_eq!(code("f(b\"x\", br\"y\", c\"z\")"), "f(    ,      ,     )");
        assert_eq!(code("bar(\"x\")"), "bar(   )");
    }

    #[test]
    fn a_lifetime_is_no_character() {
        assert_eq!(code("fn f<'a>(x: &'a str) { x == 'b' || '\\'' == y || '\u{e9}' == z }").matches('\'').count(), 2);
    }

    #[test]
    fn lines_stay_where_they_were() {
        let source = Source::new("a.rs", "\"one\ntwo\"\nfind");
        assert_eq!(source.find("find").map(|at| source.line(at)).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn test_modules_are_told_apart() {
        let text = "fn a() { now() }\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn b() { now() } }\nfn c() { now() }\n";
        let source = Source::new("a.rs", text);
        assert_eq!(source.find("now").map(|at| source.line(at)).collect::<Vec<_>>(), [1, 5]);
        assert_eq!(source.lines_of_code(), 3);
    }

    #[test]
    fn a_test_item_without_a_body_ends_at_its_semicolon() {
        let source = Source::new("a.rs", "#[cfg(test)]\nextern crate std;\nnow()\n");
        assert_eq!(source.find("now").count(), 1);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(whole_words("HashMap MyHashMap HashMaps", "HashMap").count(), 1);
    }
}
