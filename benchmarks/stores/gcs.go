package main

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// gcs knows the JSON API's list, metadata and download, which Google's clients use, and the XML API's list and
// object, which obstore uses.
func gcs(buckets map[string]*bucket, w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	for _, prefix := range []string{"/download/storage/v1/b/", "/storage/v1/b/"} {
		if rest, found := strings.CutPrefix(path, prefix); found {
			gcsJSON(buckets, w, r, rest)
			return
		}
	}
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	b := buckets[name]
	if b == nil {
		http.Error(w, "<Error><Code>NoSuchBucket</Code></Error>", http.StatusNotFound)
		return
	}
	if key == "" {
		gcsXMLList(b, w, r)
		return
	}
	gcsObject(b, w, r, key)
}

func gcsJSON(buckets map[string]*bucket, w http.ResponseWriter, r *http.Request, rest string) {
	name, rest, _ := strings.Cut(rest, "/o")
	b := buckets[name]
	if b == nil {
		http.Error(w, `{"error": {"code": 404, "message": "The specified bucket does not exist."}}`, http.StatusNotFound)
		return
	}
	key, err := url.PathUnescape(strings.TrimPrefix(rest, "/"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	query := r.URL.Query()
	if key != "" && query.Get("alt") == "media" {
		gcsObject(b, w, r, key)
		return
	}
	var answer any
	if key != "" {
		o := b.objects[key]
		if o == nil {
			http.Error(w, `{"error": {"code": 404, "message": "No such object"}}`, http.StatusNotFound)
			return
		}
		answer = gcsTold(name, o, r)
	} else {
		found, next := b.page(query.Get("prefix"), decoded(query.Get("pageToken")), number(query.Get("maxResults"), 1000))
		items := make([]any, 0, len(found))
		for _, o := range found {
			items = append(items, gcsTold(name, o, r))
		}
		told := map[string]any{"kind": "storage#objects", "items": items}
		if next != "" {
			told["nextPageToken"] = encoded(next)
		}
		answer = told
	}
	sendJSON(w, answer)
}

func gcsTold(bucket string, o *object, r *http.Request) map[string]any {
	self := fmt.Sprintf("http://%s/storage/v1/b/%s/o/%s", r.Host, bucket, url.PathEscape(o.name))
	time := o.modified.Format("2006-01-02T15:04:05.000Z")
	return map[string]any{
		"kind": "storage#object", "id": bucket + "/" + o.name + "/" + o.generation(), "selfLink": self,
		"mediaLink": strings.Replace(self, "/storage/", "/download/storage/", 1) + "?generation=" + o.generation() + "&alt=media",
		"name":      o.name, "bucket": bucket, "generation": o.generation(), "metageneration": "1",
		"contentType": "application/octet-stream", "storageClass": "STANDARD", "size": fmt.Sprint(o.size),
		"md5Hash": o.md5, "crc32c": o.crc32c, "etag": o.etag(), "timeCreated": time, "updated": time,
	}
}

func gcsObject(b *bucket, w http.ResponseWriter, r *http.Request, key string) {
	o := b.objects[key]
	if o == nil {
		http.Error(w, "<Error><Code>NoSuchKey</Code></Error>", http.StatusNotFound)
		return
	}
	w.Header().Set("X-Goog-Generation", o.generation())
	w.Header().Set("X-Goog-Metageneration", "1")
	w.Header().Set("X-Goog-Storage-Class", "STANDARD")
	w.Header().Set("X-Goog-Stored-Content-Encoding", "identity")
	w.Header().Set("X-Goog-Stored-Content-Length", fmt.Sprint(o.size))
	w.Header().Add("X-Goog-Hash", "crc32c="+o.crc32c+",md5="+o.md5)
	content(w, r, o)
}

func gcsXMLList(b *bucket, w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	type entry struct {
		Key, LastModified, ETag string
		Size                    int64
	}
	answer := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []entry
	}{}
	found, next := b.page(query.Get("prefix"), decoded(query.Get("continuation-token")), number(query.Get("max-keys"), 1000))
	for _, o := range found {
		answer.Contents = append(answer.Contents, entry{o.name, o.modified.Format("2006-01-02T15:04:05.000Z"), `"` + o.etag() + `"`, o.size})
	}
	if next != "" {
		answer.IsTruncated, answer.NextContinuationToken = true, encoded(next)
	}
	sendXML(w, answer)
}

func sendXML(w http.ResponseWriter, answer any) {
	var body bytes.Buffer
	body.WriteString(xml.Header)
	if err := xml.NewEncoder(&body).Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	send(w, "application/xml", http.StatusOK, &body)
}

func encoded(text string) string { return base64.URLEncoding.EncodeToString([]byte(text)) }

func decoded(text string) string {
	found, _ := base64.URLEncoding.DecodeString(text) // a mark of no page of ours begins anew
	return string(found)
}
