//! `data fetch`: official files or none, whatever the network does. All servers are on the loopback interface.
#![cfg(feature = "cli")]

#[path = "common/http.rs"]
mod http;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use http::{Reply, Request, Server};
use iresnet::data::Verified;
use iresnet::data::fetch::Client;
use iresnet::error::{Error, Result};

/// Some content that is no run of equal bytes.
fn content() -> Vec<u8> {
    (0..300_000_u32).map(|k| (k.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// What is asked of a client: the range of each request.
fn ranges(server: &Server) -> Vec<Option<usize>> {
    server.requests().iter().map(|request| request.range).collect()
}

/// A folder, the place of a file in it, and the place of its beginning.
fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.bin");
    let part = folder.path().join("file.bin.part");
    (folder, path, part)
}

/// Downloads; the file is the official one if it is [`content`].
fn download(server: &Server, path: &Path) -> Result<Vec<(u64, Option<u64>)>> {
    let official = |path: &Path| {
        let found = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        if found != content() {
            return Err(Error::Verification(format!("{}: {} other bytes", path.display(), found.len())));
        }
        Ok(vec![Verified { path: path.to_owned(), blake3: String::new(), md5: None }])
    };
    let mut progress = Vec::new();
    let url = format!("{}/file.bin", server.url());
    let verified =
        Client::direct().download(&url, path, &official, &mut |report| progress.push((report.done, report.total)))?;
    assert_eq!(verified[0].path, path, "digests are told under the name that the file got");
    Ok(progress)
}

#[test]
fn a_file_arrives_whole_and_progress_is_told() {
    let server = Server::new(|_, request| Reply::file(request, &content()));
    let (folder, path, _) = place();
    let progress = download(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    assert_eq!((progress[0], *progress.last().unwrap()), ((0, Some(300_000)), (300_000, Some(300_000))));
    assert!(progress.is_sorted());
    assert_eq!(ranges(&server), [None]);
}

#[test]
fn a_cut_connection_is_resumed_where_it_was_cut() {
    let server = Server::new(|number, request| {
        let reply = Reply::file(request, &content());
        if number < 3 { reply.cut_after(70_000) } else { reply }
    });
    let (_folder, path, _) = place();
    download(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    assert_eq!(ranges(&server), [None, Some(70_000), Some(140_000), Some(210_000)]);
}

#[test]
fn what_an_earlier_attempt_left_is_not_asked_for_again() {
    let (_folder, path, part) = place();
    let dead = Server::new(|number, request| {
        if number == 0 { Reply::file(request, &content()).cut_after(1000) } else { Reply::status("503 Busy") }
    });
    let error = download(&dead, &path).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error:?}");
    let message = error.to_string();
    assert!(message.contains("503") && message.contains("1000 bytes") && message.contains(&dead.url()), "{message}");
    assert!(!path.exists());
    assert_eq!(fs::read(&part).unwrap(), content()[..1000]);
    let server = Server::new(|_, request| Reply::file(request, &content()));
    download(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    assert_eq!(ranges(&server), [Some(1000)]);
}

#[test]
fn a_beginning_that_is_whole_already_is_not_fetched_at_all() {
    let (_folder, path, part) = place();
    fs::write(&part, content()).unwrap();
    let server = Server::new(|_, request| Reply::file(request, &content()));
    download(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    assert_eq!(ranges(&server), [Some(300_000)]);
}

#[test]
fn a_beginning_of_something_else_is_thrown_away() {
    let (_folder, path, part) = place();
    fs::write(&part, [7; 500]).unwrap();
    let server = Server::new(|_, request| Reply::file(request, &content()));
    download(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    assert_eq!(ranges(&server), [Some(500), None]);
    // Longer than the file is.
    fs::remove_file(&path).unwrap();
    fs::write(&part, vec![7; 300_001]).unwrap();
    download(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
}

#[test]
fn servers_without_ranges_begin_anew() {
    let (_folder, path, part) = place();
    fs::write(&part, &content()[..1000]).unwrap();
    let server = Server::new(|_, request| Reply::file(&Request { range: None, ..request.clone() }, &content()));
    download(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    // One that answers with another range than was asked for is not believed.
    fs::remove_file(&path).unwrap();
    fs::write(&part, &content()[..1000]).unwrap();
    let server = Server::new(|_, request| {
        Reply::file(&Request { range: request.range.map(|at| at / 2), ..request.clone() }, &content())
    });
    download(&server, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
}

#[test]
fn other_content_is_refused_and_not_kept() {
    let server = Server::new(|_, request| Reply::file(request, b"something else"));
    let (folder, path, _) = place();
    let error = download(&server, &path).unwrap_err();
    assert_eq!(error.exit_code(), 9, "{error:?}");
    assert!(error.to_string().contains(&server.url()) && error.to_string().contains("14 other bytes"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_not_there_is_not_asked_for_twice() {
    let server = Server::new(|_, _| Reply::status("404 Not Found"));
    let (folder, path, _) = place();
    let error = download(&server, &path).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error:?}");
    assert!(error.to_string().contains("404") && error.to_string().contains("file.bin"), "{error}");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The program with a data folder of its own and no proxy.
fn iresnet(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iresnet"));
    command.args(arguments).env("IRESNET_DATA", root).env("HOME", root).env_remove("IRESNET_MIRROR");
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}

#[track_caller]
fn ends_with(mut command: Command, code: i32, parts: &[&str]) {
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{command:?}\n{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
}

#[test]
fn the_program_asks_a_mirror_for_the_official_names() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::new(|_, _| Reply::status("404 Not Found"));
    for (set, path) in [
        ("mnist", "/mnist/train-images-idx3-ubyte.gz"),
        ("fashion-mnist", "/fashion-mnist/train-images-idx3-ubyte.gz"),
        ("cifar10", "/cifar10/cifar-10-binary.tar.gz"),
        ("cifar100", "/cifar100/cifar-100-binary.tar.gz"),
    ] {
        ends_with(iresnet(root.path(), &["data", "fetch", set, "--mirror", &server.url()]), 3, &["404", path]);
        assert_eq!(server.requests().last().unwrap().path, path);
    }
    let mut command = iresnet(root.path(), &["data", "fetch", "mnist"]);
    command.env("IRESNET_MIRROR", format!("{}/deep/", server.url()));
    ends_with(command, 3, &["404"]);
    assert_eq!(server.requests().last().unwrap().path, "/deep/mnist/train-images-idx3-ubyte.gz");
    ends_with(iresnet(root.path(), &["data", "fetch", "mnits"]), 2, &["\"mnist\""]);
    ends_with(iresnet(root.path(), &["data", "fetch", "fashion-mnist-mini"]), 2, &["part of this program"]);
    ends_with(iresnet(root.path(), &["data", "fetch", "mnist", "--mirror", "not an address"]), 2, &["not an address"]);
}

#[test]
fn the_program_keeps_nothing_that_is_not_official() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::new(|_, request| Reply::file(request, b"<html>Sign in to the network</html>"));
    for set in ["mnist", "cifar10", "cifar100"] {
        ends_with(
            iresnet(root.path(), &["data", "fetch", set, "--mirror", &server.url()]),
            9,
            &["not the official file"],
        );
        assert_eq!(fs::read_dir(root.path().join(set)).unwrap().count(), 0, "{set}");
    }
}

#[test]
fn a_file_of_the_users_own_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("mnist/train-images-idx3-ubyte");
    fs::create_dir(root.path().join("mnist")).unwrap();
    fs::write(&path, "mine").unwrap();
    let server = Server::new(|_, _| Reply::status("404 Not Found"));
    ends_with(
        iresnet(root.path(), &["data", "fetch", "mnist", "--mirror", &server.url()]),
        9,
        &["train-images", "official"],
    );
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert_eq!(server.requests(), []);
}

#[test]
fn the_program_goes_through_a_proxy() {
    let root = tempfile::tempdir().unwrap();
    let (server, proxy) = (Server::new(|_, _| Reply::status("404 Not Found")), Server::proxy());
    let fetch = ["data", "fetch", "mnist", "--mirror", &server.url()];
    for variable in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"] {
        let (seen, tunnels) = (server.requests().len(), proxy.requests().len());
        let mut command = iresnet(root.path(), &fetch);
        command.env(variable, proxy.url());
        ends_with(command, 3, &["404"]);
        assert_eq!((server.requests().len(), proxy.requests().len()), (seen + 1, tunnels + 1), "{variable}");
        assert_eq!(proxy.requests()[tunnels].path, server.address);
    }
    let tunnels = proxy.requests().len();
    let mut command = iresnet(root.path(), &fetch);
    command.env("HTTPS_PROXY", proxy.url()).env("NO_PROXY", "127.0.0.1");
    ends_with(command, 3, &["404"]);
    assert_eq!(proxy.requests().len(), tunnels, "NO_PROXY is heeded");
    // A proxy that is not there is named as the trouble.
    let mut command = iresnet(root.path(), &fetch);
    command.env("HTTPS_PROXY", "http://127.0.0.1:1");
    ends_with(command, 3, &["cannot be fetched", "HTTPS_PROXY"]);
}
