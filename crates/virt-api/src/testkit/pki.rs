//! Certificates for tests: an authority, and what it signs, made by the program `openssl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Makes a key for a curve that every library knows, in less time than RSA takes.
const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
/// Days that a certificate is valid: a test takes less, midnight or not.
const DAYS: [&str; 2] = ["-days", "2"];

/// A folder with an authority (`cacert.pem`, `cakey.pem`) and what it signed, under the names that libvirt's programs
/// look for: `NAMEcert.pem`, `NAMEkey.pem`.
#[derive(Clone, Debug)]
pub struct Pki {
    folder: PathBuf,
}

impl Pki {
    /// An authority in this folder, which is there. A test asks for `need!(program "openssl")` before.
    ///
    /// # Panics
    /// If openssl does not do it.
    #[track_caller]
    pub fn new(folder: &Path) -> Self {
        let pki = Self {
            folder: folder.to_owned(),
        };
        pki.openssl(&[
            &[
                "req",
                "-x509",
                "-keyout",
                "cakey.pem",
                "-out",
                "cacert.pem",
                "-subj",
                "/CN=Our CA",
            ],
            &NEW_KEY[..],
            &DAYS,
            &["-addext", "keyUsage=critical,keyCertSign,cRLSign"],
        ]);
        pki
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A key and a certificate for it. The subject is in openssl's form (`/C=GB/CN=name`), the purpose `serverAuth` or
    /// `clientAuth`, the names those of the subject's alternatives (`DNS:localhost,IP:127.0.0.1`), or nothing.
    ///
    /// # Panics
    /// If openssl does not do it.
    #[track_caller]
    #[allow(clippy::expect_used, reason = "a test that cannot write a file cannot go on")]
    pub fn issue(&self, name: &str, subject: &str, purpose: &str, names: &str) {
        let file = |kind: &str| format!("{name}{kind}");
        let (key, request, certificate) = (file("key.pem"), file(".csr"), file("cert.pem"));
        self.openssl(&[
            &[
                "req", "-new", "-utf8", "-keyout", &key, "-out", &request, "-subj", subject,
            ],
            &NEW_KEY[..],
        ]);
        let mut extensions = format!(
            "basicConstraints=critical,CA:FALSE\nextendedKeyUsage={purpose}\n\
             keyUsage=critical,digitalSignature,keyEncipherment\n"
        );
        if !names.is_empty() {
            extensions.push_str(&format!("subjectAltName={names}\n"));
        }
        std::fs::write(self.path("extensions"), extensions).expect("a file can be written");
        self.openssl(&[
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-out",
                &certificate,
                "-extfile",
                "extensions",
            ],
            &["-CA", "cacert.pem", "-CAkey", "cakey.pem", "-CAcreateserial"],
            &DAYS,
        ]);
    }

    /// Takes a certificate back: `crl.pem` names it, and those that were taken back before.
    ///
    /// # Panics
    /// If openssl does not do it.
    #[track_caller]
    #[allow(clippy::expect_used, reason = "a test that cannot write a file cannot go on")]
    pub fn revoke(&self, name: &str) {
        for (file, text) in [
            ("index.txt", ""),
            ("crlnumber", "01\n"),
            (
                "ca.cnf",
                "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=2\n\
                 crlnumber=crlnumber\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n",
            ),
        ] {
            let path = self.path(file);
            if !path.exists() {
                std::fs::write(path, text).expect("a file can be written");
            }
        }
        let authority = [
            "ca",
            "-config",
            "ca.cnf",
            "-keyfile",
            "cakey.pem",
            "-cert",
            "cacert.pem",
        ];
        self.openssl(&[&authority, &["-revoke", &format!("{name}cert.pem")]]);
        self.openssl(&[&authority, &["-gencrl", "-out", "crl.pem"]]);
    }

    #[track_caller]
    #[allow(clippy::expect_used, reason = "a test asked for openssl before")]
    fn openssl(&self, words: &[&[&str]]) {
        let words = words.concat();
        let done = Command::new("openssl")
            .args(&words)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output()
            .expect("openssl starts");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "openssl {words:?}: {said}");
    }
}
