//! Subjects: tokens between dots, with `*` for one token and `>` for all that follow.

/// Whether somebody may subscribe to it.
pub(crate) fn is_valid(subject: &str) -> bool {
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty() || (token == ">" && tokens.peek().is_some()) {
            return false;
        }
    }
    !subject.contains([' ', '\t', '\r', '\n', '\x0c'])
}

/// Whether it is valid and stands for itself alone.
pub(crate) fn is_literal(subject: &str) -> bool {
    is_valid(subject) && !has_wildcard(subject)
}

/// Whether one of its tokens stands for others.
pub(crate) fn has_wildcard(subject: &str) -> bool {
    subject.split('.').any(|token| token == "*" || token == ">")
}

/// Whether a pattern covers a subject. Where the subject is a pattern, whether it covers all of it.
pub(crate) fn matches(pattern: &str, subject: &str) -> bool {
    let (mut patterns, mut tokens) = (pattern.split('.'), subject.split('.'));
    loop {
        match (patterns.next(), tokens.next()) {
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(pattern), Some(token)) if pattern == token => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether there is a subject that both cover.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let (mut ones, mut others) = (one.split('.'), other.split('.'));
    loop {
        match (ones.next(), others.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Where a subject goes that `source` covers: `dest` with what the `>` of both stands for. None if it does not cover it.
pub(crate) fn moved(source: &str, dest: &str, subject: &str) -> Option<String> {
    if !matches(source, subject) {
        return None;
    }
    match (source.strip_suffix('>'), dest.strip_suffix('>')) {
        (Some(head), Some(new_head)) => Some(format!("{new_head}{}", subject.strip_prefix(head)?)),
        _ => Some(dest.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_they_say() {
        for (pattern, subject, covers) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("a", "a.b", false),
            ("a.>", "a.*.c", true),
            ("a.*", "a.>", false),
        ] {
            assert_eq!(matches(pattern, subject), covers, "{pattern} {subject}");
        }
        assert!(
            overlap("a.*.c", "a.b.>") && overlap("a.>", "*.b") && !overlap("a.b", "a.b.c") && !overlap("a.*", "b.*")
        );
    }

    #[test]
    fn what_is_no_subject_is_told_apart() {
        for wrong in ["", "a..b", ".a", "a.", "a.>.b", "a b"] {
            assert!(!is_valid(wrong), "{wrong}");
        }
        assert!(is_valid("a.*.>") && !is_literal("a.*") && is_literal("a*.b>"));
    }

    #[test]
    fn the_rest_moves_along() {
        assert_eq!(moved("a.log.>", "a.moved.>", "a.log.x.y"), Some("a.moved.x.y".into()));
        assert_eq!(moved("a.log.>", "one", "a.log.x.y"), Some("one".into()));
        assert_eq!(moved("a.log.>", "a.moved.>", "b.log.x"), None);
    }
}
