//! Header blocks: `NATS/1.0`, lines, an empty line. Kept as bytes; what is looked for is looked for as the server does.

/// Every block begins with it.
pub(crate) const VERSION_LINE: &str = "NATS/1.0\r\n";

/// The value of the first line of this name, in exactly these letters; none where it is empty.
pub(crate) fn get<'a>(block: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(block).ok()?;
    let mut lines = text.split("\r\n").skip(1);
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim_start_matches(' ')).filter(|value| !value.is_empty())
}

/// The block with further lines; without a block, one of these lines alone.
pub(crate) fn with(block: Option<&[u8]>, lines: &[(&str, String)]) -> Vec<u8> {
    let mut whole = match block {
        Some(block) => block.strip_suffix(b"\r\n").unwrap_or(block).to_vec(),
        None => VERSION_LINE.into(),
    };
    for (name, value) in lines {
        whole.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    whole.extend_from_slice(b"\r\n");
    whole
}

/// A block that is a status alone: `NATS/1.0 404 Message Not Found`.
pub(crate) fn status(words: &str, lines: &[(&str, u64)]) -> Vec<u8> {
    let mut block = format!("NATS/1.0 {words}\r\n");
    for (name, value) in lines {
        block.push_str(&format!("{name}: {value}\r\n"));
    }
    block.push_str("\r\n");
    block.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_exact_name() {
        let block =
            with(None, &[("Nats-Msg-Id", "a: b".into()), ("Empty", String::new()), ("Nats-Msg-Id", "c".into())]);
        assert_eq!(get(&block, "Nats-Msg-Id"), Some("a: b"));
        assert_eq!(get(&block, "nats-msg-id"), None);
        assert_eq!(get(&block, "Msg-Id"), None);
        assert_eq!(get(&block, "Empty"), None);
        let more = with(Some(&block), &[("More", "1".into())]);
        assert_eq!(get(&more, "More"), Some("1"));
        assert!(more.ends_with(b"More: 1\r\n\r\n") && !more.windows(6).any(|at| at == b"\r\n\r\n\r\n"));
    }
}
