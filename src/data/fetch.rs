//! Getting a set's official files, from their canonical addresses or a mirror.
//!
//! A file is written beside its place, as `FILE.part`, compared with the official digests, and then renamed: under its
//! name a file is whole and official. What is there of a `.part` is kept when a connection is cut or the program ends, and
//! the rest is asked for by an HTTP range. Proxies are taken from `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
//!
//! A mirror is a folder of sets behind an address: the file FILE of set NAME is at `MIRROR/NAME/FILE`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Proxy};

use super::catalogue::existing;
use super::idx::{self, MAX_BYTES};
use super::known::{Known, Part};
use super::verify::{Verified, compare};
use super::{archive, catalogue};
use crate::error::{Error, Result};

/// Attempts that may fail one after the other without a byte more; then it is given up.
const ATTEMPTS: u32 = 4;
/// Pause after the first failed attempt; it doubles with each.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// How far the fetching of a file has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file.
    pub path: &'a Path,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes there will be, where the server says so.
    pub total: Option<u64>,
}

/// Gets the files of the set `name` that are not yet in the folder `name` of `root`, from `mirror` or else from their
/// canonical addresses; gives what was compared with the official digests. `report` hears of every piece that arrives.
///
/// # Errors
/// [`Error::Config`] for an unknown name, or one without files to fetch; [`Error::Data`] where nothing answers, or there
/// is no such file; [`Error::Verification`] where the content is not the official one, which then is not kept;
/// [`Error::Io`] where it cannot be written.
pub fn fetch(
    name: &str,
    root: &Path,
    mirror: Option<&str>,
    report: &mut dyn FnMut(&Progress<'_>),
) -> Result<Vec<Verified>> {
    let built_in = || Error::Config(format!("{name} is part of this program: there is nothing to fetch"));
    if name.starts_with("toy:") {
        return Err(built_in());
    }
    let known = Known::find(name)?;
    if known.addresses.is_empty() {
        return Err(built_in());
    }
    let folder = root.join(known.name);
    std::fs::create_dir_all(&folder).map_err(|source| Error::Io { path: folder.clone(), source })?;
    let addresses: Vec<String> = match mirror {
        Some(mirror) => vec![format!("{}/{}", mirror.trim_end_matches('/'), known.name)],
        None => known.addresses.iter().map(|&address| address.to_owned()).collect(),
    };
    let client = Client::from_environment();
    let mut verified = Vec::new();
    for wanted in Wanted::all(known) {
        let path = folder.join(&wanted.file);
        if let Some(there) = wanted.existing(&folder) {
            // Whatever is wrong with it, it is the user's: say so, and leave it.
            verified.extend(wanted.check(&there)?);
            continue;
        }
        let mut failure = None;
        for address in &addresses {
            let url = format!("{address}/{}", wanted.file);
            match client.download(&url, &path, &|path| wanted.check(path), report) {
                Ok(found) => {
                    verified.extend(found);
                    failure = None;
                    break;
                }
                // A file that cannot be written here will not be from elsewhere.
                Err(error @ Error::Io { .. }) => return Err(error),
                // The first address is the one to tell of.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
    }
    Ok(verified)
}

/// The folder that fetched sets go to: the first in which they are looked for.
///
/// # Errors
/// [`Error::Config`] where there is neither `$IRESNET_DATA` nor a home.
pub fn root() -> Result<PathBuf> {
    catalogue::roots()
        .into_iter()
        .next()
        .ok_or_else(|| Error::Config("no folder for data sets: set IRESNET_DATA to one".into()))
}

/// What sends requests.
pub struct Client {
    agent: Agent,
}

impl Client {
    /// A client that goes through the proxy that the environment names, if it does.
    pub fn from_environment() -> Self {
        Self::new(Proxy::try_from_env())
    }

    /// A client that goes through no proxy.
    pub fn direct() -> Self {
        Self::new(None)
    }

    fn new(proxy: Option<Proxy>) -> Self {
        let config = Agent::config_builder()
            .proxy(proxy)
            .http_status_as_error(false)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("iresnet/", env!("CARGO_PKG_VERSION")));
        Self { agent: config.build().into() }
    }

    /// Gets the file at `url` to `path`, going on from what there is in `path` with `.part` behind it. `check` is shown the
    /// whole file before it gets its name; what it refuses is not kept. Gives what `check` gave, paths renamed.
    ///
    /// # Errors
    /// As [`fetch`].
    pub fn download(
        &self,
        url: &str,
        path: &Path,
        check: &dyn Fn(&Path) -> Result<Vec<Verified>>,
        report: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Vec<Verified>> {
        Download { agent: &self.agent, url, path, check }.run(report)
    }
}

/// A file that is published, and what is known of its content.
struct Wanted {
    known: &'static Known,
    file: String,
    /// The part that it is; `None` for an archive.
    part: Option<&'static Part>,
}

impl Wanted {
    fn all(known: &'static Known) -> Vec<Self> {
        match &known.archive {
            Some(archive) => vec![Self { known, file: archive.file.to_owned(), part: None }],
            None => {
                let parts = known.parts();
                parts.map(|part| Self { known, file: format!("{}.gz", part.file), part: Some(part) }).collect()
            }
        }
    }

    /// Where it is, if it is there; a plain file does for a gzipped one.
    fn existing(&self, folder: &Path) -> Option<PathBuf> {
        match self.part {
            Some(part) => existing(folder, part.file),
            None => Some(folder.join(&self.file)).filter(|path| path.is_file()),
        }
    }

    /// Compares the file at `path` with the official one.
    fn check(&self, path: &Path) -> Result<Vec<Verified>> {
        if let Some(part) = self.part {
            return Ok(vec![compare(idx::open(path)?, path, part.md5, part.blake3, "its uncompressed content")?]);
        }
        let of = self.known.archive.as_ref().expect("a set without parts of its own has an archive");
        let parts: Vec<&Part> = self.known.parts().collect();
        if parts.iter().any(|part| part.md5.is_none()) {
            let file = File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
            return Ok(vec![compare(file, path, Some(of.md5), None, "it")?]);
        }
        let files: Vec<&str> = parts.iter().map(|part| part.file).collect();
        let mut verified = Vec::new();
        archive::each(path, of.folder, &files, |number, path, source| {
            let part = parts[number];
            verified.push(compare(source, path, part.md5, part.blake3, "its content")?);
            Ok(())
        })?;
        Ok(verified)
    }
}

/// One file on its way.
struct Download<'a> {
    agent: &'a Agent,
    url: &'a str,
    path: &'a Path,
    check: &'a dyn Fn(&Path) -> Result<Vec<Verified>>,
}

/// Why an attempt failed.
enum Failure {
    /// Another attempt may succeed.
    Passing(String),
    /// No other attempt will.
    Lasting(Error),
}

impl Download<'_> {
    fn run(&self, report: &mut dyn FnMut(&Progress<'_>)) -> Result<Vec<Verified>> {
        let part = PathBuf::from(format!("{}.part", self.path.display()));
        let resumed = length(&part) > 0;
        self.get(&part, report)?;
        let checked = match (self.check)(&part) {
            Ok(found) => Ok(found),
            // The beginning may have been of another file: once more, from scratch.
            Err(Error::Data { .. } | Error::Verification(_)) if resumed => {
                remove(&part)?;
                self.get(&part, report)?;
                (self.check)(&part)
            }
            Err(error) => Err(error),
        };
        let found = match checked {
            Ok(found) => found,
            Err(Error::Io { path, source }) => return Err(Error::Io { path, source }),
            Err(error) => {
                remove(&part)?;
                return Err(Error::Verification(format!(
                    "{}: what it gave is not the official file and was not kept ({error}). Try again, or another mirror",
                    self.url
                )));
            }
        };
        std::fs::rename(&part, self.path).map_err(|source| Error::Io { path: self.path.to_owned(), source })?;
        // Digests were taken under the name that it had then.
        let old = part.display().to_string();
        let rename = |mut found: Verified| {
            found.path =
                PathBuf::from(found.path.display().to_string().replace(&old, &self.path.display().to_string()));
            found
        };
        Ok(found.into_iter().map(rename).collect())
    }

    /// Attempts until `part` is whole, as far as the server says.
    fn get(&self, part: &Path, report: &mut dyn FnMut(&Progress<'_>)) -> Result<()> {
        let mut failed = 0;
        loop {
            let before = length(part);
            match self.attempt(part, report) {
                Ok(()) => return Ok(()),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(problem)) => {
                    failed = if length(part) > before { 1 } else { failed + 1 };
                    if failed >= ATTEMPTS {
                        let there = match length(part) {
                            0 => String::new(),
                            bytes => format!(
                                "; the {bytes} bytes that are there are kept, and the next attempt goes on from them"
                            ),
                        };
                        return Err(self.missing(&format!("{problem}{there}")));
                    }
                    std::thread::sleep(PAUSE * 2_u32.pow(failed - 1));
                }
            }
        }
    }

    /// One request for what is missing of `part`.
    fn attempt(&self, part: &Path, report: &mut dyn FnMut(&Progress<'_>)) -> Result<(), Failure> {
        let offset = length(part);
        // Bytes as they are stored: a range of something else would not fit what is there.
        let mut request = self.agent.get(self.url).header(header::ACCEPT_ENCODING, "identity");
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        let response = request.call().map_err(|error| match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
                Failure::Lasting(Error::Config(format!("{}: {error}", self.url)))
            }
            error => Failure::Passing(error.to_string()),
        })?;
        let status = response.status();
        let start = match status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if range(&response).is_some_and(|(start, _)| start == Some(offset)) => offset,
            StatusCode::RANGE_NOT_SATISFIABLE if range(&response).is_some_and(|(_, total)| total == Some(offset)) => {
                return Ok(());
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                remove(part).map_err(Failure::Lasting)?;
                return Err(Failure::Passing(format!("answers {status} with another range than was asked for")));
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failure::Passing(format!("answers {status}")));
            }
            status if status.is_server_error() => return Err(Failure::Passing(format!("answers {status}"))),
            status => return Err(Failure::Lasting(self.missing(&format!("answers {status}")))),
        };
        let total = match status {
            StatusCode::OK => response.body().content_length(),
            _ => range(&response).and_then(|(_, total)| total),
        };
        self.store(response, part, start, total, report)
    }

    /// Writes the body of a response into `part` from byte `start` on.
    fn store(
        &self,
        response: Response<ureq::Body>,
        part: &Path,
        start: u64,
        total: Option<u64>,
        report: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<(), Failure> {
        let io = |source| Failure::Lasting(Error::Io { path: part.to_owned(), source });
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(part).map_err(io)?;
        file.set_len(start).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let (mut done, mut buffer) = (start, vec![0; 1 << 16]);
        loop {
            report(&Progress { path: self.path, done, total });
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    file.sync_all().map_err(io)?;
                    return Err(Failure::Passing(format!("the connection was cut after {done} bytes ({error})")));
                }
            };
            if done + read as u64 > MAX_BYTES {
                let problem = format!("gives more than {MAX_BYTES} bytes, far more than the official file has");
                drop(file);
                remove(part).map_err(Failure::Lasting)?;
                return Err(Failure::Lasting(self.missing(&problem)));
            }
            file.write_all(&buffer[..read]).map_err(io)?;
            done += read as u64;
        }
        file.sync_all().map_err(io)?;
        match total {
            Some(total) if done < total => {
                Err(Failure::Passing(format!("the connection was cut after {done} of {total} bytes")))
            }
            _ => Ok(()),
        }
    }

    fn missing(&self, problem: &str) -> Error {
        let problem = format!(
            "cannot be fetched: {} {problem}. Another mirror: --mirror URL; a proxy: HTTPS_PROXY; or put the file there \
             yourself",
            self.url
        );
        Error::Data { path: self.path.to_owned(), problem }
    }
}

/// First byte and whole length in the `Content-Range` of a response, where it has one.
fn range(response: &Response<ureq::Body>) -> Option<(Option<u64>, Option<u64>)> {
    let text = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((span.split_once('-').and_then(|(start, _)| start.parse().ok()), total.parse().ok()))
}

/// Bytes of a file; 0 where there is none.
fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
