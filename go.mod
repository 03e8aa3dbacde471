module switchboard

go 1.26

require google.golang.org/protobuf v1.36.12

require github.com/cespare/xxhash/v2 v2.3.0

require (
	github.com/molecule-man/go-brrr v1.0.1 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	golang.org/x/net v0.58.0 // indirect
)

require (
	github.com/fasthttp/websocket v1.5.12
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/savsgio/gotils v0.0.0-20240704082632-aef3928b8a38 // indirect
	github.com/valyala/fasthttp v1.74.0 // indirect
	go.uber.org/goleak v1.3.0
)
