package main

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// azure knows List Blobs, Get Blob and Get Blob Properties below /ACCOUNT/CONTAINER, as Azure's own emulator lays them out.
func azure(buckets map[string]*bucket, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("x-ms-version", r.Header.Get("x-ms-version"))
	w.Header().Set("x-ms-request-id", "0")
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 3)
	if len(parts) < 2 || buckets[parts[1]] == nil {
		azureFailed(w, http.StatusNotFound, "ContainerNotFound")
		return
	}
	b := buckets[parts[1]]
	if r.URL.Query().Get("comp") == "list" {
		azureList(b, w, r)
		return
	}
	var o *object
	if len(parts) == 3 {
		o = b.objects[parts[2]]
	}
	if o == nil {
		azureFailed(w, http.StatusNotFound, "BlobNotFound")
		return
	}
	if given := r.Header.Get("x-ms-range"); given != "" {
		r.Header.Set("Range", given)
	}
	if given := r.Header.Get("If-Match"); given == o.etag() { // lists tell it without quotes, and Azure takes both
		r.Header.Set("If-Match", `"`+given+`"`)
	}
	if r.Header.Get("Range") == "" {
		w.Header().Set("Content-MD5", o.md5)
	} else {
		w.Header().Set("x-ms-blob-content-md5", o.md5)
	}
	w.Header().Set("x-ms-blob-type", "BlockBlob")
	w.Header().Set("x-ms-creation-time", o.modified.Format(http.TimeFormat))
	w.Header().Set("x-ms-lease-state", "available")
	w.Header().Set("x-ms-lease-status", "unlocked")
	w.Header().Set("x-ms-server-encrypted", "true")
	content(w, r, o)
}

func azureFailed(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s<Error><Code>%s</Code><Message>%s</Message></Error>", xml.Header, code, code)
}

func azureList(b *bucket, w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	type properties struct {
		CreationTime  string `xml:"Creation-Time"`
		LastModified  string `xml:"Last-Modified"`
		Etag          string
		ContentLength int64  `xml:"Content-Length"`
		ContentType   string `xml:"Content-Type"`
		ContentMD5    string `xml:"Content-MD5"`
		BlobType      string
	}
	type blob struct {
		Name       string
		Properties properties
	}
	answer := struct {
		XMLName    xml.Name `xml:"EnumerationResults"`
		Prefix     string
		Blobs      []blob `xml:"Blobs>Blob"`
		NextMarker string
	}{Prefix: query.Get("prefix")}
	found, next := b.page(query.Get("prefix"), decoded(query.Get("marker")), number(query.Get("maxresults"), 5000))
	for _, o := range found {
		at := o.modified.Format(time.RFC1123)
		at = strings.Replace(at, "UTC", "GMT", 1)
		answer.Blobs = append(answer.Blobs, blob{o.name, properties{at, at, o.etag(), o.size, "application/octet-stream", o.md5, "BlockBlob"}})
	}
	if next != "" {
		answer.NextMarker = encoded(next)
	}
	sendXML(w, answer)
}
