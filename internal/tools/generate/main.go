// Command generate writes a Go package from a Protobuf schema, with a compiler in Go: nothing has to be installed for it.
//
//	generate [-check] SCHEMA DIRECTORY
//
// The output is that of protoc with protoc-gen-go, but for the line that names protoc's version. With -check it writes nothing and
// fails when what stands in the directory is not what it would write.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	check := flag.Bool("check", false, "write nothing; fail when the directory holds something else")
	flag.Parse()
	if err := run(flag.Arg(0), flag.Arg(1), *check); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(schema, dir string, check bool) error {
	if schema == "" || dir == "" {
		return errors.New("a schema and a directory are needed")
	}
	request, err := compile(schema)
	if err != nil {
		return fmt.Errorf("compiling %s: %w", schema, err)
	}
	files, err := generate(request)
	if err != nil {
		return fmt.Errorf("generating from %s: %w", schema, err)
	}
	for _, f := range files {
		path := filepath.Join(dir, filepath.Base(f.GetName()))
		if !check {
			if err := os.WriteFile(path, []byte(f.GetContent()), 0o644); err != nil {
				return err
			}
			continue
		}
		there, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(there, []byte(f.GetContent())) {
			return fmt.Errorf("%s is not what %s says: run make generate", path, schema)
		}
	}
	return nil
}

// compile returns what protoc hands a plugin: the schema's file behind all that it imports, with its comments.
func compile(schema string) (*pluginpb.CodeGeneratorRequest, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{filepath.Dir(schema)}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	name := filepath.Base(schema)
	compiled, err := compiler.Compile(context.Background(), name)
	if err != nil {
		return nil, err
	}
	var files []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		files = append(files, protodesc.ToFileDescriptorProto(f))
	}
	for _, f := range compiled {
		add(f)
	}
	return &pluginpb.CodeGeneratorRequest{FileToGenerate: []string{name}, ProtoFile: files}, nil
}

// generate is what protoc-gen-go does with the request.
func generate(request *pluginpb.CodeGeneratorRequest) ([]*pluginpb.CodeGeneratorResponse_File, error) {
	plugin, err := protogen.Options{}.New(request)
	if err != nil {
		return nil, err
	}
	for _, f := range plugin.Files {
		if f.Generate {
			internal_gengo.GenerateFile(plugin, f)
		}
	}
	response := plugin.Response()
	if response.Error != nil {
		return nil, errors.New(response.GetError())
	}
	return response.GetFile(), nil
}
