//! Area `util-file`: mount tables, paths, where a migration goes.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::json;
use virt_util::mounts;
use virt_util::path::sanitize_path;
use virt_util::uri::Uri;

/// A link of the captured host and where it leads.
const LINK: (&str, &str) = ("/some/symlink/file", "/gluster/file");

/// Mount points below a folder.
pub fn subtree(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let mut have = mounts::subtree(&corpus.input(case)?, case.text("prefix")?);
        if case.param("reverse").as_bool() == Some(true) {
            have.reverse();
        }
        Ok(Outcome::equal("mounts", &json!(have), case.param("mounts")))
    };
    run().into()
}

/// Whether other hosts see a file as well.
pub fn shared(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let table = corpus.input(case)?;
        let path = case.text("path")?;
        let path = if path == LINK.0 { LINK.1 } else { path };
        let have = mounts::mount_of(&table, path).is_some_and(|mount| mounts::is_shared_type(mount.kind));
        Ok(Outcome::equal(
            "shared",
            &Some(have),
            &case.param("shared").as_bool(),
        ))
    };
    run().into()
}

/// A path cleaned up.
pub fn sanitize(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        Ok(Outcome::same_text(
            &sanitize_path(case.text("in")?),
            case.text("out")?,
        ))
    };
    run().into()
}

/// Whether a guest may migrate to a URI.
pub fn migration_target(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = Uri::parse(case.text("uri")?).and_then(|uri| uri.check_not_local());
        Ok(Outcome::of_text(case, have.map(|()| String::new()), None))
    };
    run().into()
}
