//! Paths as texts: nothing here looks at a file system.

/// Joins slashes that follow one another and takes the last one away: `/foo///bar/` becomes `/foo/bar`.
///
/// Two slashes at the very beginning stay, because they may mean something else than one; what looks like a URI
/// (`scheme://…`) stays as it is, for the same reason. `.` and `..` are left alone.
pub fn sanitize_path(path: &str) -> String {
    if let Some(at) = path.find("://")
        && path.find('/') > Some(at)
    {
        return path.to_owned();
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    if path.starts_with("//") && !path.starts_with("///") {
        out.push_str("//");
        rest = rest.trim_start_matches('/');
    }
    while let Some(at) = rest.find('/') {
        let (name, slashes) = rest.split_at(at);
        out.push_str(name);
        rest = slashes.trim_start_matches('/');
        // The last slash goes, unless it is all there is.
        if out.is_empty() || !rest.is_empty() {
            out.push('/');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::sanitize_path;

    #[test]
    fn slashes_are_joined() {
        for (path, clean) in [
            ("", ""),
            ("/", "/"),
            ("//", "//"),
            ("///", "/"),
            ("a/", "a"),
            ("/a//b///c/", "/a/b/c"),
            ("//a//b", "//a/b"),
            ("//a//", "//a"),
            ("///a", "/a"),
            ("/../a", "/../a"),
            ("gluster://host//a/", "gluster://host//a/"),
            ("/a/b://c//d", "/a/b:/c/d"),
        ] {
            assert_eq!(sanitize_path(path), clean, "{path}");
            assert_eq!(sanitize_path(clean), clean, "{clean}");
        }
    }
}
