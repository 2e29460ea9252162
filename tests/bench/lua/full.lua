-- A Lua filter that does what the filter does in its full configuration: rules by method and path,
-- scope and audience, expiry, refusals kept for a while, a bound on what is kept, and headers for the
-- service that no client can spoof. With TELL it lets access logs and policies know of it, too.
local CAPACITY, MAX_TTL, NEGATIVE_TTL = 10000, 3600, 5
local TELL = false
local AUDIENCE = "https://orders.example.com"
local RULES = {
  {prefix = "/healthz/", public = true},
  {method = "GET", prefix = "/orders/", scope = "orders:read"},
  {prefix = "/orders/", scope = "orders:write"},
}

-- What is kept by token, and the tokens in the order in which they came.
local kept, order, last = {}, {}, 0

local function keep(token, answer)
  if not kept[token] then
    last = last % CAPACITY + 1
    if order[last] then kept[order[last]] = nil end
    order[last] = token
  end
  kept[token] = answer
  return answer
end

local function refuse(handle, status, challenge)
  handle:respond({
    [":status"] = status, ["content-type"] = "application/json", ["cache-control"] = "no-store",
    ["www-authenticate"] = challenge,
  }, "{}")
end

local function introspect(handle, token, now)
  local headers, body = handle:httpCall("as", {
    [":method"] = "POST", [":path"] = "PATH", [":authority"] = "as.test",
    ["authorization"] = "Basic YmVuY2g6YmVuY2gtc2VjcmV0",
    ["content-type"] = "application/x-www-form-urlencoded", ["accept"] = "application/json",
  }, "token=" .. token:gsub("[+/=]", function(c) return ("%%%02X"):format(c:byte()) end)
    .. "&token_type_hint=access_token", 5000)
  if headers[":status"] ~= "200" then return nil end
  if not body:find('"active"%s*:%s*true') then
    return keep(token, {active = false, ends = now + NEGATIVE_TTL})
  end
  local scopes, scope = {}, body:match('"scope"%s*:%s*"([^"]*)"') or ""
  for word in scope:gmatch("%S+") do scopes[word] = true end
  local expires = tonumber(body:match('"exp"%s*:%s*(%d+)')) or now
  return keep(token, {
    active = true, ends = math.min(expires, now + MAX_TTL), scopes = scopes, scope = scope,
    client = body:match('"client_id"%s*:%s*"([^"]*)"'),
    subject = body:match('"sub"%s*:%s*"([^"]*)"'), audience = body:match('"aud"%s*:%s*"([^"]*)"'),
  })
end

local function rule_for(method, path)
  for _, rule in ipairs(RULES) do
    if (not rule.method or rule.method == method) and path:sub(1, #rule.prefix) == rule.prefix then
      return rule
    end
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:remove("x-user")
  headers:remove("x-scope")
  local path = headers:get(":path"):match("^[^?]*")
  -- What services read in different ways.
  if path:find("[%%\\;]") or path:find("//", 1, true) or path:find("/.", 1, true) then
    return refuse(handle, "400", 'Bearer realm="oauth2", error="invalid_request"')
  end
  local rule = rule_for(headers:get(":method"), path .. "/")
  if not rule then return refuse(handle, "403") end
  if rule.public then return end
  local authorization = headers:get("authorization")
  local token = authorization and authorization:match("^[Bb]earer +([%w%-%._~%+/]+=*)$")
  if not token then return refuse(handle, "401", 'Bearer realm="oauth2"') end
  local now = os.time()
  local answer = kept[token]
  if not answer or answer.ends <= now then
    answer = introspect(handle, token, now)
    -- What was read before a call is not good after it.
    headers = handle:headers()
  end
  if not answer then return refuse(handle, "503") end
  if not answer.active or answer.ends <= now or answer.audience ~= AUDIENCE then
    return refuse(handle, "401", 'Bearer realm="oauth2", error="invalid_token"')
  end
  if not answer.scopes[rule.scope] then
    return refuse(handle, "403", 'Bearer realm="oauth2", error="insufficient_scope", scope="' .. rule.scope .. '"')
  end
  headers:remove("authorization")
  if answer.subject then headers:replace("x-user", answer.subject) end
  headers:replace("x-scope", answer.scope)
  if not TELL then return end
  -- What access logs and policies can read, as the filter's filter state is.
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("oauth2", "decision", "allowed")
  metadata:set("oauth2", "rule", rule.prefix)
  metadata:set("oauth2", "subject", answer.subject)
  metadata:set("oauth2", "client", answer.client)
  metadata:set("oauth2", "scope", answer.scope)
end
