module switchboard

go 1.26

require google.golang.org/protobuf v1.36.12

require github.com/cespare/xxhash/v2 v2.3.0
