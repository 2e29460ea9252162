// An authorization server made of zitadel/oidc, the library in ZITADEL, with the storage of its example; it
// listens on the loopback port PORT. Access tokens and keys are in files in DATA, so they outlive the process.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	example "github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// As ZITADEL has it: tokens are for a project, and may be introspected by its applications.
var project = []string{"69234237810729019", "orders-api", "orders-key"}

type storage struct {
	*example.Storage
	data string
	// Those of clients.
	keys jose.JSONWebKeySet
	// Those of the server; the last one signs.
	mutex   sync.Mutex
	signing jose.JSONWebKeySet
}

// As in ZITADEL, by the organization in which the user has the role.
var roles = map[string]any{"urn:zitadel:iam:org:project:roles": map[string]any{
	"clerk": map[string]string{"69234237810729000": "shop.example.com"},
}}

type token struct {
	Client, Subject    string
	Audience, Scopes   []string
	IssuedAt, ExpireAt time.Time
}

func main() {
	address := "127.0.0.1:" + os.Getenv("PORT")
	for _, name := range []string{"svc", jwtClient, "orders-api", "billing", "shop", "shop-short", "shop-refresh", "shop-exchange"} {
		example.RegisterClients(example.WebClient(name, name+"-secret", "http://127.0.0.1/callback"))
	}
	users := check(example.StoreFromFile("users.json"))
	store := &storage{Storage: example.NewStorage(users), data: os.Getenv("DATA")}
	check(0, os.MkdirAll(store.data, 0o700))
	keys := check(os.ReadFile(filepath.Join(os.Getenv("KEYS"), "clients.jwks")))
	check(0, json.Unmarshal(keys, &store.keys))
	if keys, err := os.ReadFile(store.keyFile()); err == nil {
		check(0, json.Unmarshal(keys, &store.signing))
	} else {
		check(0, store.addKey())
	}

	router := http.NewServeMux()
	router.Handle("/", exampleop.SetupServer("http://"+address, store, slog.Default(), false,
		op.WithAccessTokenVerifierOpts(op.WithSupportedAccessTokenSigningAlgorithms(string(jose.ES256)))))
	// Keys are rotated as an operator would.
	for path, change := range map[string]func() error{"/keys/add": store.addKey, "/keys/drop": store.dropKeys} {
		router.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if err := change(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	// There is one user, and no page asks for her password.
	router.HandleFunc("GET /login/username", func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("authRequestID")
		if err := store.CheckUsernamePassword("alice", "alice-pw", id); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		http.Redirect(w, r, "/auth/callback?id="+id, http.StatusFound)
	})
	log.Fatal(http.ListenAndServe(address, router))
}

func check[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func (s *storage) save(id, client string, request op.TokenRequest) (time.Time, error) {
	lifetime := time.Hour
	if client == "shop-short" || client == "shop-refresh" {
		lifetime = 6 * time.Second
	}
	audience, now := project, time.Now()
	if client == "billing" {
		audience = []string{client}
	}
	issued := token{client, request.GetSubject(), audience, request.GetScopes(), now, now.Add(lifetime)}
	text, err := json.Marshal(issued)
	if err != nil {
		return time.Time{}, err
	}
	return issued.ExpireAt, os.WriteFile(filepath.Join(s.data, id), text, 0o600)
}

func (s *storage) CreateAccessToken(_ context.Context, request op.TokenRequest) (string, time.Time, error) {
	id, client := uuid.NewString(), request.GetSubject()
	if of, ok := request.(interface{ GetClientID() string }); ok {
		client = of.GetClientID()
	}
	expiry, err := s.save(id, client, request)
	return id, expiry, err
}

func (s *storage) CreateAccessAndRefreshTokens(ctx context.Context, request op.TokenRequest, current string) (string, string, time.Time, error) {
	id, refresh, _, err := s.Storage.CreateAccessAndRefreshTokens(ctx, request, current)
	if err != nil {
		return "", "", time.Time{}, err
	}
	expiry, err := s.save(id, request.(interface{ GetClientID() string }).GetClientID(), request)
	return id, refresh, expiry, err
}

func (s *storage) SetIntrospectionFromToken(_ context.Context, response *oidc.IntrospectionResponse, id, _, client string) error {
	text, err := os.ReadFile(filepath.Join(s.data, id))
	if err != nil {
		return err
	}
	var found token
	if err := json.Unmarshal(text, &found); err != nil {
		return err
	}
	if found.ExpireAt.Before(time.Now()) || !slices.Contains(found.Audience, client) {
		return errors.New("the token has expired, or is not for this client")
	}
	response.TokenType, response.ClientID, response.Subject = oidc.BearerToken, found.Client, found.Subject
	response.Scope, response.Audience = found.Scopes, found.Audience
	response.Claims = roles
	response.IssuedAt, response.Expiration = oidc.FromTime(found.IssuedAt), oidc.FromTime(found.ExpireAt)
	return nil
}

func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return roles, nil
}

func (s *storage) RevokeToken(ctx context.Context, id, user, client string) *oidc.Error {
	if err := os.Remove(filepath.Join(s.data, id)); err == nil {
		return nil
	}
	return s.Storage.RevokeToken(ctx, id, user, client)
}

func (s *storage) GetKeyByIDAndClientID(_ context.Context, id, client string) (*jose.JSONWebKey, error) {
	if keys := s.keys.Key(id); len(keys) > 0 && client == "orders-key" {
		return &keys[0], nil
	}
	return nil, errors.New("the client has no such key")
}

// A key of the server.
type key struct{ jose.JSONWebKey }

func (k key) ID() string                                  { return k.KeyID }
func (k key) Key() any                                    { return k.JSONWebKey.Key }
func (k key) Use() string                                 { return k.JSONWebKey.Use }
func (k key) Algorithm() jose.SignatureAlgorithm          { return jose.ES256 }
func (k key) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.ES256 }

func (s *storage) keyFile() string { return filepath.Join(s.data, "keys.jwks") }

// A new key signs; the others still verify.
func (s *storage) addKey() error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	next := jose.JSONWebKey{Key: private, KeyID: uuid.NewString(), Algorithm: string(jose.ES256), Use: "sig"}
	return s.changeKeys(func(all []jose.JSONWebKey) []jose.JSONWebKey { return append(all, next) })
}

// Only the last key is left.
func (s *storage) dropKeys() error {
	return s.changeKeys(func(all []jose.JSONWebKey) []jose.JSONWebKey { return all[len(all)-1:] })
}

func (s *storage) changeKeys(change func([]jose.JSONWebKey) []jose.JSONWebKey) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.signing.Keys = change(slices.Clone(s.signing.Keys))
	text, err := json.Marshal(s.signing)
	if err != nil {
		return err
	}
	return os.WriteFile(s.keyFile(), text, 0o600)
}

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return key{s.signing.Keys[len(s.signing.Keys)-1]}, nil
}

func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.ES256}, nil
}

func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var public []op.Key
	for _, private := range s.signing.Keys {
		public = append(public, key{private.Public()})
	}
	return public, nil
}

// A client of the example, with all scopes, and with tokens of its own.
type client struct{ op.Client }

func (client) IsScopeAllowed(string) bool { return true }

// The client whose access tokens are JWTs.
const jwtClient = "svc-jwt"

func (c client) AccessTokenType() op.AccessTokenType {
	if c.GetID() == jwtClient {
		return op.AccessTokenTypeJWT
	}
	return c.Client.AccessTokenType()
}

func (c client) GrantTypes() []oidc.GrantType {
	return append(c.Client.GrantTypes(), oidc.GrantTypeClientCredentials)
}

func (s *storage) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	found, err := s.Storage.GetClientByClientID(ctx, id)
	return client{found}, err
}

func (s *storage) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if err := s.AuthorizeClientIDSecret(ctx, id, secret); err != nil {
		return nil, err
	}
	return s.GetClientByClientID(ctx, id)
}

func (s *storage) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &oidc.JWTTokenRequest{Subject: id, Scopes: scopes, Audience: project}, nil
}

func (s *storage) ValidateTokenExchangeRequest(ctx context.Context, request op.TokenExchangeRequest) error {
	request.SetRequestedTokenType(oidc.AccessTokenType)
	return s.Storage.ValidateTokenExchangeRequest(ctx, request)
}
