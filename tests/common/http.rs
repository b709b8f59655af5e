//! A web server and a proxy on the loopback interface, that do what a test says and note what they were asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// First byte of the range asked for.
    pub(crate) range: Option<usize>,
}

/// What the server answers.
pub(crate) struct Reply {
    pub(crate) status: &'static str,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
    /// Bytes of the body after which the connection is cut.
    pub(crate) cut: Option<usize>,
}

impl Reply {
    pub(crate) fn status(status: &'static str) -> Self {
        Self { status, headers: String::new(), body: status.as_bytes().to_vec(), cut: None }
    }

    /// `content`, or the range of it that was asked for.
    pub(crate) fn file(request: &Request, content: &[u8]) -> Self {
        match request.range {
            Some(start) if start >= content.len() => {
                let headers = format!("Content-Range: bytes */{}\r\n", content.len());
                Self { headers, ..Self::status("416 Range Not Satisfiable") }
            }
            Some(start) => {
                let headers = format!("Content-Range: bytes {start}-{}/{}\r\n", content.len() - 1, content.len());
                Self { status: "206 Partial Content", headers, body: content[start..].to_vec(), cut: None }
            }
            None => Self { status: "200 OK", headers: String::new(), body: content.to_vec(), cut: None },
        }
    }

    pub(crate) fn cut_after(self, bytes: usize) -> Self {
        Self { cut: Some(bytes), ..self }
    }
}

/// A listener with a thread for each connection.
pub(crate) struct Server {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// A web server that answers with `reply`, which also gets the number of the request, from 0.
    pub(crate) fn new(reply: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(move |mut stream, number, request| {
            let Reply { status, headers, body, cut } = reply(number, request);
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n", body.len());
            let sent = &body[..cut.unwrap_or(body.len()).min(body.len())];
            // A client may have gone away on purpose.
            let _ =
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent)).and_then(|()| stream.flush());
            let _ = stream.shutdown(Shutdown::Both);
        })
    }

    /// A proxy: it opens the tunnel that it is asked for.
    pub(crate) fn proxy() -> Self {
        Self::listen(|mut stream, _, request| {
            if request.method != "CONNECT" {
                let _ = stream.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
                return;
            }
            let target = TcpStream::connect(&request.path).unwrap();
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let (mut from, mut to) = (stream.try_clone().unwrap(), target.try_clone().unwrap());
            let there = std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
            });
            let _ = std::io::copy(&mut { target }, &mut stream);
            let _ = stream.shutdown(Shutdown::Both);
            let _ = there.join();
        })
    }

    fn listen(answer: impl Fn(TcpStream, usize, &Request) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let number = {
                        let mut log = log.lock().unwrap();
                        log.push(request.clone());
                        log.len() - 1
                    };
                    answer(stream, number, &request);
                });
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked until now.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// The head of a request; `None` where the client said nothing.
fn read(stream: &TcpStream) -> Option<Request> {
    // One byte at a time: what follows the head belongs to a tunnel.
    let mut reader = BufReader::with_capacity(1, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        reader.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let lines: Vec<String> = head.lines().map_while(Result::ok).collect();
    let mut words = lines.first()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let range = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let value = value.trim().strip_prefix("bytes=")?.strip_suffix('-')?;
        name.eq_ignore_ascii_case("range").then(|| value.parse().ok())?
    });
    Some(Request { method, path, range })
}
