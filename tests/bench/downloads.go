// Peer: net/http as one writes it: N goroutines take addresses from a channel and copy bodies into files.
//
//	downloads_go N PIECES LIST DIRECTORY      a file of 16 MiB or more in PIECES ranges at a time
package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"
)

var client *http.Client

// get writes what it gets at the offset; last < 0: all.
func get(url string, f *os.File, first, last int64) (err error) {
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return err
	}
	want := http.StatusOK
	if last >= 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, last))
		want = http.StatusPartialContent
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	if last < 0 {
		_, err = io.Copy(f, resp.Body)
		return err
	}
	buffer := make([]byte, 32768)
	for first <= last {
		n, err := resp.Body.Read(buffer)
		if n > 0 {
			if _, e := f.WriteAt(buffer[:n], first); e != nil {
				return e
			}
			first += int64(n)
		}
		if err != nil && first <= last {
			return err
		}
	}
	return nil
}

func fetch(url, target string, pieces int64) (err error) {
	part := target + ".part"
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	size := int64(-1)
	if pieces > 1 {
		resp, err := client.Head(url)
		if err != nil {
			return err
		}
		resp.Body.Close()
		size = resp.ContentLength
	}
	if size < 16<<20 {
		err = get(url, f, 0, -1)
	} else {
		var group sync.WaitGroup
		errs := make([]error, pieces)
		for i := int64(0); i < pieces; i++ {
			group.Add(1)
			go func(i int64) {
				defer group.Done()
				errs[i] = get(url, f, size*i/pieces, size*(i+1)/pieces-1)
			}(i)
		}
		group.Wait()
		for _, e := range errs {
			if e != nil {
				err = e
			}
		}
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(part, target)
	}
	return err
}

func main() {
	n, _ := strconv.Atoi(os.Args[1])
	pieces, _ := strconv.Atoi(os.Args[2])
	list, err := os.Open(os.Args[3])
	if err != nil {
		panic(err)
	}
	client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n, MaxConnsPerHost: n, DisableCompression: true}}
	urls := make(chan string)
	var group sync.WaitGroup
	var failed sync.Map
	for i := 0; i < n; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for url := range urls {
				if err := fetch(url, filepath.Join(os.Args[4], path.Base(url)), int64(pieces)); err != nil {
					failed.Store(url, err)
				}
			}
		}()
	}
	for lines := bufio.NewScanner(list); lines.Scan(); {
		urls <- lines.Text()
	}
	close(urls)
	group.Wait()
	code := 0
	failed.Range(func(url, err any) bool {
		fmt.Fprintln(os.Stderr, err)
		code = 1
		return true
	})
	os.Exit(code)
}
