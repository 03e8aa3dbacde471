package hook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
)

// The headers of a call, as Standard Webhooks has them.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// secretPrefix begins a secret that is written in base64.
const secretPrefix = "whsec_"

// Sign returns the signature of a body that is posted at Unix second at. A secret that begins with whsec_ is base64 behind it, any other
// counts as it is; blanks around it do not.
func Sign(secret []byte, id string, at int64, body []byte) string {
	mac := hmac.New(sha256.New, keyOf(secret))
	_, _ = mac.Write([]byte(id + "." + strconv.FormatInt(at, 10) + ".")) // never fails
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func keyOf(secret []byte) []byte {
	text := strings.TrimSpace(string(secret))
	if rest, ok := strings.CutPrefix(text, secretPrefix); ok {
		if key, err := base64.StdEncoding.DecodeString(rest); err == nil {
			return key
		}
	}
	return []byte(text)
}
