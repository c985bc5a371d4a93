// Stores answers a downloader as Google Cloud Storage, Azure Blob Storage and the Hugging Face hub do, from a folder:
// each folder in it is a bucket, a container, or an owner on the hub whose models are the folders below. It prints an
// address on loopback for each store, then `ready`.
//
// It exists because the emulators of these stores are slower than the clients, so that all clients look alike. It
// reads only, checks no signature, and knows the requests that clients make to download: lists in pages, objects
// with ranges and preconditions, the hashes and headers that they look at. Files leave by sendfile.
package main

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// object is a file as a store tells it.
type object struct {
	name     string // within its bucket, with /
	path     string
	size     int64
	modified time.Time
	md5      string // base64, as the headers have it
	crc32c   string // base64 of the big-endian sum
	sha256   string // hexadecimal
}

// etag is one without quotes; made of the content.
func (o *object) etag() string { return o.sha256[:32] }

// generation is GCS's number of a version.
func (o *object) generation() string { return strconv.FormatInt(o.modified.UnixMicro(), 10) }

// bucket holds its objects by name, and their names in order.
type bucket struct {
	names   []string
	objects map[string]*object
}

// page gives up to most objects of a prefix after a name, and the name to go on after; empty at the end.
func (b *bucket) page(prefix, after string, most int) ([]*object, string) {
	at := sort.SearchStrings(b.names, prefix)
	if after != "" {
		at = sort.Search(len(b.names), func(i int) bool { return b.names[i] > after })
	}
	var found []*object
	for ; at < len(b.names) && strings.HasPrefix(b.names[at], prefix); at++ {
		if len(found) == most {
			return found, b.names[at-1]
		}
		found = append(found, b.objects[b.names[at]])
	}
	return found, ""
}

// read indexes a folder of buckets, with the sums that stores tell of what they hold.
func read(root string) (map[string]*bucket, error) {
	buckets := map[string]*bucket{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		inside, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name, rest, _ := strings.Cut(filepath.ToSlash(inside), "/")
		found, err := sums(path)
		if err != nil {
			return err
		}
		found.name = rest
		if buckets[name] == nil {
			buckets[name] = &bucket{objects: map[string]*object{}}
		}
		buckets[name].objects[rest] = found
		buckets[name].names = append(buckets[name].names, rest)
		return nil
	})
	for _, each := range buckets {
		sort.Strings(each.names)
	}
	return buckets, err
}

func sums(path string) (*object, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	seen, err := file.Stat()
	if err != nil {
		return nil, err
	}
	md, sha, crc := md5.New(), sha256.New(), crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(io.MultiWriter(md, sha, crc), file); err != nil {
		return nil, err
	}
	return &object{
		path:     path,
		size:     seen.Size(),
		modified: seen.ModTime().UTC().Truncate(time.Second),
		md5:      base64.StdEncoding.EncodeToString(md.Sum(nil)),
		crc32c:   base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc.Sum32())),
		sha256:   hex.EncodeToString(sha.Sum(nil)),
	}, nil
}

// content sends an object, whole or in the range asked for, if the preconditions hold.
func content(w http.ResponseWriter, r *http.Request, o *object) {
	w.Header().Set("ETag", `"`+o.etag()+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	file, err := os.Open(o.path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer file.Close()
	http.ServeContent(w, r, "", o.modified, file)
}

// send answers with a body of known length.
func send(w http.ResponseWriter, kind string, status int, body *bytes.Buffer) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // who asked may be gone
}

// number reads a query's number, within 1 and most.
func number(text string, most int) int {
	if value, err := strconv.Atoi(text); err == nil && value > 0 && value < most {
		return value
	}
	return most
}

func main() {
	folder := flag.String("folder", ".", "the buckets")
	flag.Parse()
	buckets, err := read(*folder)
	if err != nil {
		log.Fatal(err)
	}
	for name, answer := range map[string]func(map[string]*bucket, http.ResponseWriter, *http.Request){
		"gcs": gcs, "azure": azure, "hf": hub,
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, listener.Addr())
		go func() {
			log.Fatal(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answer(buckets, w, r)
			})))
		}()
	}
	fmt.Println("ready")
	select {}
}
