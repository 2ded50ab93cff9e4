//! Finds the client's connection. Its socket is one of those that the leader has when it opens the session.
#![forbid(unsafe_code)]

use std::ffi::OsStr;

use crate::policy;
use crate::sys::socket::{Connection, Stream};

/// How many descriptors are looked at. A process that opens a session has a few. A login must not wait until
/// thousands have been looked at.
const DESCRIPTORS_MAX: usize = 1024;

/// The TCP connection of the client whom PAM calls `rhost`, from the streams of the leader's descriptors. Other
/// descriptors are `None`. Returns `None` if it is not certain which stream it is.
#[must_use]
pub fn of_client(descriptors: impl Iterator<Item = Option<Stream>>, rhost: &OsStr) -> Option<Connection> {
    let rhost = rhost.to_str()?;
    let address = policy::address(rhost);
    if address.is_none() && !policy::is_host_name(rhost) {
        return None;
    }
    let mut found: Option<Stream> = None;
    for (count, stream) in descriptors.enumerate() {
        if count == DESCRIPTORS_MAX {
            return None;
        }
        let Some(stream) = stream else { continue };
        // A PAM module may have left its own connection to a server behind.
        if stream.peer.is_some() && address.is_some() && stream.peer != address {
            continue;
        }
        match found {
            // The process may have several descriptors of one socket.
            Some(other) if other.cookie != stream.cookie => return None,
            _ => found = Some(stream),
        }
    }
    found?.connection
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// The accepted end of a connection, and the client's.
    fn connected(listen: &str, port_of: &str) -> [TcpStream; 2] {
        let listener = TcpListener::bind(listen).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(format!("{port_of}:{port}")).unwrap();
        [listener.accept().unwrap().0, client]
    }

    fn found(rhost: &str, sockets: &[&dyn AsRawFd]) -> Option<u64> {
        let descriptors = sockets.iter().map(|socket| Stream::of(&socket.as_raw_fd()));
        of_client(descriptors, rhost.as_ref()).map(|connection| connection.cookie)
    }

    fn cookie(socket: &TcpStream) -> Option<u64> {
        let cookie = crate::sys::socket::cookie(socket);
        assert!(cookie.is_some());
        cookie
    }

    #[test]
    fn the_one_connection_to_the_client_is_the_clients() {
        let [server, _client] = connected("127.0.0.1:0", "127.0.0.1");
        let again = server.try_clone().unwrap();
        for rhost in ["127.0.0.1", "::ffff:127.0.0.1", "client.example.org", "localhost"] {
            assert_eq!(found(rhost, &[&server, &again]), cookie(&server), "{rhost}");
        }
        for rhost in ["192.0.2.7", "::1", "UNKNOWN", ""] {
            assert_eq!(found(rhost, &[&server]), None, "{rhost}");
        }
        assert_eq!(found("127.0.0.1", &[]), None);
        let [server, _client] = connected("[::1]:0", "[::1]");
        assert_eq!(found("::1", &[&server]), cookie(&server));
        let [server, _client] = connected("[::]:0", "127.0.0.1");
        assert_eq!(found("127.0.0.1", &[&server]), cookie(&server));
    }

    #[test]
    fn sockets_without_a_client_do_not_count() {
        let [server, _client] = connected("127.0.0.1:0", "127.0.0.1");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.connect("127.0.0.1:9").unwrap();
        let (unix, _other) = UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        for rhost in ["127.0.0.1", "localhost"] {
            let all: [&dyn AsRawFd; 6] = [&listener, &datagrams, &server, &unix, &null, &i32::MAX];
            assert_eq!(found(rhost, &all), cookie(&server), "{rhost}");
        }
    }

    #[test]
    fn the_connection_to_the_clients_address_is_told_from_another_one() {
        let [server, _client] = connected("127.0.0.1:0", "127.0.0.1");
        // A module that asks a directory server may leave such a connection behind.
        let [directory, _server] = connected("[::1]:0", "[::1]");
        assert_eq!(found("127.0.0.1", &[&server, &directory]), cookie(&server));
        assert_eq!(found("127.0.0.1", &[&directory, &server]), cookie(&server));
        // A name does not tell them apart, and neither does the client's own address.
        assert_eq!(found("client.example.org", &[&server, &directory]), None);
        let [same, _server] = connected("127.0.0.1:0", "127.0.0.1");
        assert_eq!(found("127.0.0.1", &[&server, &same]), None);
    }

    #[test]
    fn a_connection_among_thousands_of_descriptors_is_not_looked_for() {
        let [server, _client] = connected("127.0.0.1:0", "127.0.0.1");
        let mut asked = 0;
        let endless = std::iter::repeat(Stream::of(&server)).inspect(|_| asked += 1);
        assert_eq!(of_client(endless, "127.0.0.1".as_ref()), None);
        assert!(asked < 5000, "{asked}");
        let few = std::iter::repeat_n(Stream::of(&server), 100);
        assert!(of_client(few, "127.0.0.1".as_ref()).is_some());
    }
}
