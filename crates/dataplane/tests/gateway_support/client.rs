//! A plain HTTP/1.1 client, and what it read.

use super::PATIENCE;
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One request to a Unix socket.
pub fn ask(socket: &Path, method: &str, path: &str) -> Reply {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
    read_reply(&mut BufReader::new(stream), method).unwrap()
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The words of an error of the gateway's, which has the request's id in it.
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        body["error"].as_str().unwrap().to_owned()
    }
}

/// A plain HTTP/1.1 client on one connection.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    pub fn begin(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str("host: h.example.com\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        self.send(&message);
    }

    pub fn read(&mut self, method: &str) -> std::io::Result<Reply> {
        read_reply(&mut self.stream, method)
    }

    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.begin(method, path, headers, body);
        self.read(method).unwrap()
    }

    pub fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line)
    }

    /// Waits until the other end has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
            || matches!(self.stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::ConnectionReset)
    }
}

fn unexpected(what: &str) -> std::io::Error {
    std::io::Error::new(ErrorKind::UnexpectedEof, what)
}

fn read_line(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(unexpected("closed"));
    }
    Ok(line.trim_end().to_owned())
}

fn read_fields(stream: &mut impl BufRead) -> std::io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| unexpected("no header"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

pub fn read_reply(stream: &mut impl BufRead, method: &str) -> std::io::Result<Reply> {
    let mut status;
    let mut headers;
    loop {
        let line = read_line(stream)?;
        let code = line.split(' ').nth(1).ok_or_else(|| unexpected("no status"))?;
        status = code.parse::<u16>().map_err(|_| unexpected("no status"))?;
        headers = read_fields(stream)?;
        if status >= 200 {
            break;
        }
    }
    let mut reply = Reply { status, headers, body: Vec::new(), trailers: Vec::new() };
    if method == "HEAD" || status == 204 || status == 304 {
        return Ok(reply);
    }
    if reply.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = usize::from_str_radix(&read_line(stream)?, 16).map_err(|_| unexpected("no size"))?;
            if size == 0 {
                reply.trailers = read_fields(stream)?;
                return Ok(reply);
            }
            let mut part = vec![0; size];
            stream.read_exact(&mut part)?;
            reply.body.extend(part);
            read_line(stream)?;
        }
    }
    match reply.header("content-length") {
        Some(length) => {
            reply.body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut reply.body)?;
        }
        None => {
            stream.read_to_end(&mut reply.body)?;
        }
    }
    Ok(reply)
}
