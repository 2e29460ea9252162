package interop;

import static org.springframework.security.config.Customizer.withDefaults;

import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.core.io.FileSystemResource;
import org.springframework.jdbc.core.JdbcOperations;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.oauth2.jwt.JwtEncoder;
import org.springframework.security.oauth2.jwt.NimbusJwtEncoder;
import org.springframework.security.oauth2.server.authorization.JdbcOAuth2AuthorizationService;
import org.springframework.security.oauth2.server.authorization.OAuth2AuthorizationService;
import org.springframework.security.oauth2.server.authorization.OAuth2TokenType;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.token.JwtEncodingContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenClaimsContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenCustomizer;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.servlet.function.RequestPredicates;
import org.springframework.web.servlet.function.RouterFunction;
import org.springframework.web.servlet.function.RouterFunctions;
import org.springframework.web.servlet.function.ServerResponse;

@Configuration
class Security {
    private static final String CLIENT_KEYS = "/clients.jwks";
    private static final String ADD_KEY = "/keys/add";
    private static final String DROP_KEYS = "/keys/drop";

    @Bean
    SecurityFilterChain endpoints(HttpSecurity http) {
        return http.oauth2AuthorizationServer(server -> server.oidc(withDefaults()))
                .authorizeHttpRequests(requests ->
                        requests.requestMatchers(CLIENT_KEYS, ADD_KEY, DROP_KEYS).permitAll().anyRequest().authenticated())
                .formLogin(withDefaults())
                // The user of these tests has no browser.
                .csrf(csrf -> csrf.ignoringRequestMatchers("/login", ADD_KEY, DROP_KEYS))
                .build();
    }

    /** Tokens outlive the process. */
    @Bean
    OAuth2AuthorizationService authorizations(JdbcOperations database, RegisteredClientRepository clients) {
        return new JdbcOAuth2AuthorizationService(database, clients);
    }

    /** Who may use an access token; otherwise that is the client which has it. */
    private static Optional<List<String>> audience(OAuth2TokenContext context) {
        boolean isForOrders = OAuth2TokenType.ACCESS_TOKEN.equals(context.getTokenType())
                && context.getAuthorizedScopes().stream().anyMatch(scope -> scope.startsWith("orders:"));
        return isForOrders ? Optional.of(Collections.singletonList("https://orders.example.com")) : Optional.empty();
    }

    @Bean
    OAuth2TokenCustomizer<JwtEncodingContext> audienceOfJwts() {
        return context -> audience(context).ifPresent(context.getClaims()::audience);
    }

    @Bean
    OAuth2TokenCustomizer<OAuth2TokenClaimsContext> audienceOfOpaqueTokens() {
        return context -> audience(context).ifPresent(context.getClaims()::audience);
    }

    @Bean
    SigningKeys signingKeys(@Value("${DATA}") Path data) throws Exception {
        return new SigningKeys(data.resolve("keys.jwks"));
    }

    /** Of several keys the last one signs. */
    @Bean
    JwtEncoder encoder(SigningKeys keys) {
        var encoder = new NimbusJwtEncoder(keys);
        encoder.setJwkSelector(SigningKeys::last);
        return encoder;
    }

    /** Keys are rotated as an operator would. */
    @Bean
    RouterFunction<ServerResponse> rotation(SigningKeys keys) {
        return RouterFunctions.route()
                .POST(ADD_KEY, request -> {
                    keys.add();
                    return ServerResponse.ok().build();
                })
                .POST(DROP_KEYS, request -> {
                    keys.drop();
                    return ServerResponse.ok().build();
                })
                .build();
    }

    /** The public keys of clients with private_key_jwt are fetched from a URL, here of the server itself. */
    @Bean
    RouterFunction<ServerResponse> clientKeys(@Value("${KEYS}") Path keys) {
        return RouterFunctions.resource(
                RequestPredicates.GET(CLIENT_KEYS), new FileSystemResource(keys.resolve("clients.jwks")));
    }
}
