// Package secure is TLS for sockets of which there are many: connections that are driven by hand, and certificates that change
// while they are served.
//
// # By hand
//
// A [Conn] is a TLS connection that begins like any other: it reads and writes its socket, and waits where it must. After
// [Conn.Take] the socket is the caller's: bytes that came from it are given in with [Conn.Feed] and read, decrypted, with
// [Conn.Open] until [ErrWait]; [Conn.Seal] returns what is to be written. Nothing waits, nothing needs a goroutine, and
// no buffer is held but a record that is not whole. So a loop of epoll serves it as it serves a plain socket.
//
// # Certificates
//
// [Files] are a certificate and its key on the disk. They are looked at again when a handshake asks for them, at most once a
// second, and when [Files.Reload] is called. A pair that cannot be used leaves the one before in its place.
//
// # Who owns what
//
// Before Take a Conn is used like a [net.Conn]. After it, one goroutine at a time may call its methods. Files may be used from any
// goroutine.
//
// # What it does not do
//
// It asks clients for no certificates. It does not hand the keys to the kernel.
package secure
