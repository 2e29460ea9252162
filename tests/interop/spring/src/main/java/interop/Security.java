package interop;

import static org.springframework.security.config.Customizer.withDefaults;

import java.nio.file.Path;
import java.util.Collections;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.core.io.FileSystemResource;
import org.springframework.jdbc.core.JdbcOperations;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.oauth2.server.authorization.JdbcOAuth2AuthorizationService;
import org.springframework.security.oauth2.server.authorization.OAuth2AuthorizationService;
import org.springframework.security.oauth2.server.authorization.OAuth2TokenType;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.token.JwtEncodingContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenCustomizer;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.servlet.function.RequestPredicates;
import org.springframework.web.servlet.function.RouterFunction;
import org.springframework.web.servlet.function.RouterFunctions;
import org.springframework.web.servlet.function.ServerResponse;

@Configuration
class Security {
    private static final String CLIENT_KEYS = "/clients.jwks";

    @Bean
    SecurityFilterChain endpoints(HttpSecurity http) {
        return http.oauth2AuthorizationServer(server -> server.oidc(withDefaults()))
                .authorizeHttpRequests(requests ->
                        requests.requestMatchers(CLIENT_KEYS).permitAll().anyRequest().authenticated())
                .formLogin(withDefaults())
                // The user of these tests has no browser.
                .csrf(csrf -> csrf.ignoringRequestMatchers("/login"))
                .build();
    }

    /** Tokens outlive the process. */
    @Bean
    OAuth2AuthorizationService authorizations(JdbcOperations database, RegisteredClientRepository clients) {
        return new JdbcOAuth2AuthorizationService(database, clients);
    }

    /** Who may use an access token; otherwise that is the client which has it. */
    @Bean
    OAuth2TokenCustomizer<JwtEncodingContext> audience() {
        return context -> {
            boolean isForOrders =
                    context.getAuthorizedScopes().stream().anyMatch(scope -> scope.startsWith("orders:"));
            if (OAuth2TokenType.ACCESS_TOKEN.equals(context.getTokenType()) && isForOrders) {
                context.getClaims().audience(Collections.singletonList("https://orders.example.com"));
            }
        };
    }

    /** The public keys of clients with private_key_jwt are fetched from a URL, here of the server itself. */
    @Bean
    RouterFunction<ServerResponse> clientKeys(@Value("${KEYS}") Path keys) {
        return RouterFunctions.resource(
                RequestPredicates.GET(CLIENT_KEYS), new FileSystemResource(keys.resolve("clients.jwks")));
    }
}
