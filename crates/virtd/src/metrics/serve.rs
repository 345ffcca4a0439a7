//! The socket: as much HTTP as a scraper needs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use virt_util::{Result, VirtError};

use super::{Source, render};

/// Scrapers at a time; more are turned away.
const SCRAPERS: usize = 4;
/// How long one may take to ask, and to take its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest question.
const QUESTION: usize = 8192;

/// Opens the socket at `path`, for the daemon's user only, and answers there until the task is dropped.
///
/// # Errors
/// `SYSTEM_ERROR` if the socket cannot be opened.
pub fn serve(path: &Path, source: Arc<dyn Source>) -> Result<impl Future<Output = ()> + Send + use<>> {
    let context = |error: &std::io::Error| {
        VirtError::io(
            error,
            format_args!("cannot open the metrics socket '{}'", path.display()),
        )
    };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(context(&error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(|error| context(&error))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|error| context(&error))?;
    Ok(answer_all(listener, source))
}

async fn answer_all(listener: UnixListener, source: Arc<dyn Source>) {
    let places = Arc::new(Semaphore::new(SCRAPERS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a reader of metrics: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            // A reader that is slow or gone is its own loss.
            let _ = tokio::time::timeout(PATIENCE, answer(stream, source)).await;
            drop(place);
        });
    }
}

async fn answer(mut stream: UnixStream, source: Arc<dyn Source>) -> std::io::Result<()> {
    let mut question = Vec::new();
    let mut piece = [0; 1024];
    while !question.windows(4).any(|end| end == b"\r\n\r\n") && !question.ends_with(b"\n\n") {
        let count = stream.read(&mut piece).await?;
        if count == 0 || question.len() > QUESTION {
            break;
        }
        question.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
    let line = question
        .split(|byte| *byte == b'\r' || *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (status, kind, body) = match (words.next(), words.next()) {
        (Some("GET" | "HEAD"), Some("/metrics" | "/")) => {
            let page = tokio::task::spawn_blocking(move || render(&source.facts())).await;
            match page {
                Ok(page) => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", page),
                Err(_) => ("500 Internal Server Error", "text/plain", "no facts\n".to_owned()),
            }
        }
        (Some("GET" | "HEAD"), Some(_)) => ("404 Not Found", "text/plain", "see /metrics\n".to_owned()),
        _ => ("400 Bad Request", "text/plain", "GET /metrics\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if !line.starts_with("HEAD") {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::super::Facts;
    use super::*;

    struct Quiet;

    impl Source for Quiet {
        fn facts(&self) -> Facts {
            Facts {
                daemon: "libvirtd".to_owned(),
                ..Facts::default()
            }
        }
    }

    #[test]
    fn a_scraper_gets_its_page() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let ask = async |question: &str| {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(question.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        runtime.block_on(async {
            let server = tokio::spawn(serve(&path, Arc::new(Quiet)).unwrap());
            let page = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
            assert!(page.contains("\r\n\r\n# HELP virtd_info "), "{page}");
            assert!(
                ask("GET /other HTTP/1.1\r\n\r\n")
                    .await
                    .starts_with("HTTP/1.1 404")
            );
            assert!(ask("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
            server.abort();
        });
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
