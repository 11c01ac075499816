//! The page that Chamberlain serves, as bytes in the binary.
//!
//! No build step: what is in this folder is what browsers get. An asset's entity tag is a hash of its bytes, computed by the
//! compiler, so that a browser asks again after every release and is told `304` in between. The page has no inline script
//! or style and asks nothing but its own origin, so that the content security policy it is sent with can be strict.

/// A file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// Its path, as in the address: begins with a slash.
    pub path: &'static str,
    /// The header `Content-Type`: with the character set, where it is text.
    pub content_type: &'static str,
    /// Its contents.
    pub bytes: &'static [u8],
    /// The header `ETag`, quotes included: a hash of the contents.
    pub etag: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($path:literal as $content_type:ident,)+) => {
        &[$({
            const BYTES: &[u8] = include_bytes!(concat!("..", $path));
            const TAG: [u8; 18] = tag(BYTES);
            const ETAG: &str = match std::str::from_utf8(&TAG) {
                Ok(etag) => etag,
                Err(_) => panic!("hexadecimal digits are text"),
            };
            Asset { path: $path, content_type: $content_type, bytes: BYTES, etag: ETAG }
        },)+]
    };
}

/// Every file of the page.
pub static ASSETS: &[Asset] = assets! {
    "/index.html" as HTML,
    "/style.css" as CSS,
    "/app.js" as JAVASCRIPT,
    "/app/details.js" as JAVASCRIPT,
    "/app/dialogs.js" as JAVASCRIPT,
    "/app/dom.js" as JAVASCRIPT,
    "/app/handle.js" as JAVASCRIPT,
    "/app/sidebar.js" as JAVASCRIPT,
    "/app/theme.js" as JAVASCRIPT,
    "/app/timeline.js" as JAVASCRIPT,
    "/app/words.js" as JAVASCRIPT,
    "/client.js" as JAVASCRIPT,
    "/connection.js" as JAVASCRIPT,
    "/envelope.js" as JAVASCRIPT,
    "/keys.js" as JAVASCRIPT,
    "/requests.js" as JAVASCRIPT,
    "/room.js" as JAVASCRIPT,
    "/rooms.js" as JAVASCRIPT,
    "/favicon.svg" as SVG,
};

/// The file at `path`; `/` is the page itself.
pub fn asset(path: &str) -> Option<&'static Asset> {
    let path = if path == "/" { "/index.html" } else { path };
    ASSETS.iter().find(|asset| asset.path == path)
}

/// FNV-1a of 64 bits, in hexadecimal and in quotes. Tells releases apart; is no protection against anybody.
const fn tag(bytes: &[u8]) -> [u8; 18] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    let mut tag = [b'"'; 18];
    let mut digit = 0;
    while digit < 16 {
        tag[digit + 1] = DIGITS[(hash >> (60 - 4 * digit)) as usize & 15];
        digit += 1;
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::{fs, path::Path};

    fn text(asset: &Asset) -> &'static str {
        std::str::from_utf8(asset.bytes).expect("all of the page is text")
    }

    #[test]
    fn the_root_is_the_page() {
        let page = asset("/").expect("there is a page");
        assert_eq!(page.path, "/index.html");
        assert!(text(page).starts_with("<!doctype html>"));
        for absent in ["", "index.html", "/none.js", "/../Cargo.toml", "/package.json", "/app", "//"] {
            assert_eq!(asset(absent), None, "{absent:?}");
        }
    }

    #[test]
    fn tags_are_the_published_hash_and_tell_files_apart() {
        // From the test suite of the function's authors.
        assert_eq!(&tag(b""), b"\"cbf29ce484222325\"");
        assert_eq!(&tag(b"a"), b"\"af63dc4c8601ec8c\"");
        assert_eq!(&tag(b"foobar"), b"\"85944171f73967e8\"");
        let tags: BTreeSet<_> = ASSETS.iter().map(|asset| asset.etag).collect();
        assert_eq!(tags.len(), ASSETS.len());
    }

    #[test]
    fn whatever_the_page_names_is_served() {
        let mut named = 0;
        for asset_ in ASSETS {
            let folder = asset_.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            for line in text(asset_).lines().map(str::trim_start) {
                let module = line.starts_with("import ") || line.starts_with("export ") || line.starts_with("} from ");
                let mark = if module { "from '" } else { "=\"/" };
                let Some((_, rest)) = line.split_once(mark) else { continue };
                let name = rest.split(['\'', '"']).next().unwrap_or_default();
                let path = match (module, name.strip_prefix("../"), name.strip_prefix("./")) {
                    (true, Some(rest), _) => format!("/{rest}"),
                    (true, _, Some(rest)) => format!("{folder}/{rest}"),
                    _ => format!("/{name}"),
                };
                assert!(asset(&path).is_some(), "{} names {path}", asset_.path);
                named += 1;
            }
        }
        assert!(named > 10, "the test finds what it looks for");
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (folder, prefix) in [(root.to_path_buf(), "/"), (root.join("app"), "/app/")] {
            for entry in fs::read_dir(folder).expect("readable") {
                let name = entry.expect("readable").file_name().into_string().expect("text");
                if [".js", ".css", ".html", ".svg"].iter().any(|end| name.ends_with(end)) {
                    assert!(asset(&format!("{prefix}{name}")).is_some(), "{prefix}{name} is not among the assets");
                }
            }
        }
    }

    #[test]
    fn nothing_needs_a_laxer_policy_or_another_host() {
        let page = text(asset("/").expect("there is a page"));
        for inline in ["<style", " style=", "javascript:", "onclick=", "onload="] {
            assert!(!page.contains(inline), "{inline}");
        }
        assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=\"/").count());
        for asset in ASSETS {
            let text = text(asset)
                .replace("http://www.w3.org/", "")
                .replace("http://localhost", "")
                .replace("wss://rooms.example", "");
            for foreign in ["https://", "http://", "innerHTML", "eval(", "@import url", "localStorage.setItem(SESSION"]
            {
                assert!(!text.contains(foreign), "{} has {foreign}", asset.path);
            }
        }
    }
}
